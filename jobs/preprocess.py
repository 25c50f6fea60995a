r"""Preprocess labelled spectra: SDSS files and a label table -> Parquet.

On this machine, then on a cluster whose nodes all see /data (all options: ``raystellar preprocess --help``):

    python jobs/preprocess.py /data/dr12/spectra/lite --labels /data/ssppOut-dr12.fits --out /data/dataset
    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/preprocess.py /data/dr12/spectra/lite --labels /data/ssppOut-dr12.fits --out /data/dataset

Data flow, one input row of the Ray job a shard of paths:

    paths -> manifest -> [actor: read -> admit -> rest frame, grid, standardise -> commit] -> part-*.parquet
                                                                                   -> _rejects/part-*.parquet
"""

import sys

from raystellar.cli import main

if __name__ == "__main__":
    sys.exit(main(["preprocess", *sys.argv[1:]]))
