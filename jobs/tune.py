r"""Search the hyperparameters: preprocessed Parquet -> best.toml, and a page about the search.

On this machine, then on a cluster whose nodes all see /data (all options: ``raystellar tune --help``):

    python jobs/tune.py /data/dataset --out /data/search --then-train /data/model
    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/tune.py /data/dataset --out /data/search --then-train /data/model

Data flow:

    dataset -> arrays in the object store -> [Ray Tune worker: train a trial to its next rung] -> trials.json
    trials.json -> sampler and schedule -> the next trials, until all are done -> best.toml, _report.html
"""

import sys

from raystellar.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
