"""A job on three Ray nodes, one of which dies in the middle."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raystellar.dataset import preprocess
from raystellar.engine import Resources

PROGRAM = """
import sys, threading, time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from raystellar.dataset import preprocess
from raystellar.engine import Resources

survey, out = sys.argv[1:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False)
mine = ray.get_runtime_context().get_node_id()  # whose raylet this program hangs on; not to be killed
victim = next(node for node in nodes if node.node_id != mine)
died = []


def kill_a_node():
    end = time.monotonic() + 90
    while time.monotonic() < end and len(list(Path(out).glob("part-*.parquet"))) < 3:
        time.sleep(0.005)
    cluster.remove_node(victim, allow_graceful=False)
    died.append(len(list(Path(out).glob("part-*.parquet"))))


killer = threading.Thread(target=kill_a_node)
killer.start()
preprocess([survey + "/spectra"], survey + "/ssppOut.fits", out, resources=Resources(actors=3, rows_per_shard=1))
killer.join()
print("parts when a node died:", died[0], flush=True)
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_a_node_that_dies_in_the_middle_changes_nothing(survey, tmp_path):
    words = [sys.executable, "-c", PROGRAM, str(survey), str(tmp_path / "on-nodes")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    parts = len(list((tmp_path / "on-nodes").glob("part-*.parquet")))
    assert int(done.stdout.split()[-1]) < parts  # it died in the middle
    preprocess([f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(tmp_path / "here"), resources=Resources(local=True))

    def rows(folder: Path) -> pa.Table:
        return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*"))]).sort_by("path")

    assert rows(tmp_path / "on-nodes").equals(rows(tmp_path / "here"))
