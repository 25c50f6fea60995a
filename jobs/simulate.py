r"""Simulate a survey, written as SDSS files.

On this machine, then on a cluster whose nodes all see /data (all options: ``raystellar simulate --help``):

    python jobs/simulate.py /data/survey --stars 50000 --seed 1
    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/simulate.py /data/survey --stars 50000 --seed 1

Data flow, one input row of the Ray job a plate:

    plates -> [actor: draw stars -> synthesise -> observe -> write spec files] -> spectra/PPPP/spec-*.fits
                                                                           -> ssppOut.fits, truth.parquet
"""

import sys

from raystellar.cli import main

if __name__ == "__main__":
    sys.exit(main(["simulate", *sys.argv[1:]]))
