r"""Train the network: preprocessed Parquet -> model bundle.

On this machine, then on a cluster whose nodes all see /data (all options: ``raystellar train --help``):

    python jobs/train.py /data/dataset --out /data/model --preset paper --workers 4
    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/train.py /data/dataset --out /data/model --preset paper --workers 4

Data flow:

    dataset -> arrays in the object store -> [Ray Train worker: slice of each batch -> gradients -> step] -> bundle
"""

import sys

from raystellar.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
