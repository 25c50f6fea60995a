r"""Label a release: SDSS files and a model bundle -> catalogue.

On this machine, then on a cluster whose nodes all see /data (all options: ``raystellar label --help``):

    python jobs/label.py /data/dr12/spectra/lite --model /data/model --out /data/catalog
    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/label.py /data/dr12/spectra/lite --model /data/model --out /data/catalog

Data flow, one input row of the Ray job a shard of paths:

    paths -> manifest -> [actor: read -> rest frame, grid, standardise -> predict -> flag -> commit] -> part-*.parquet
                                                                                             -> _rejects/part-*.parquet
"""

import sys

from raystellar.cli import main

if __name__ == "__main__":
    sys.exit(main(["label", *sys.argv[1:]]))
