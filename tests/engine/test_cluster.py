"""Jobs on three Ray nodes, one of which dies in the middle."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fitdata import rows, write
from searches import LONG_CONFIG, LONG_FIT, records, search

from raystellar.engine.session import Resources
from raystellar.stages.preprocess import preprocess

CLUSTER = """
import atexit, sys, threading, time

import ray
from ray.cluster_utils import Cluster

from raystellar.engine.session import Resources

source, out = sys.argv[1:]
atexit.register(lambda: cluster.shutdown())  # however this program ends
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False)
mine = ray.get_runtime_context().get_node_id()  # whose raylet this program hangs on; not to be killed
others = [node for node in nodes if node.node_id != mine]
died = []


def kill_a_node(when, done):
    \"\"\"Kill the node ``when()`` names, as soon as it names one, and note what was ``done()`` then.\"\"\"
    def kill():
        end = time.monotonic() + 300
        while (victim := when()) is None and time.monotonic() < end:
            time.sleep(0.005)
        cluster.remove_node(victim or others[0], allow_graceful=False)
        died.append(done())

    killer = threading.Thread(target=kill)
    killer.start()
    return killer
"""

END = """
killer.join()
print("done when a node died:", died[0], flush=True)
ray.shutdown()
"""

PREPROCESS = """
from pathlib import Path

from raystellar.stages.preprocess import preprocess


def parts():
    return len(list(Path(out).glob("part-*.parquet")))


killer = kill_a_node(lambda: others[0] if parts() >= 3 else None, parts)
preprocess([source + "/spectra"], source + "/ssppOut.fits", out, resources=Resources(actors=3, rows_per_shard=1))
"""

TUNE = """
import psutil
from searches import LONG_CONFIG, LONG_FIT, epochs_on_record, search


def busy():
    \"\"\"Return one of the other nodes where a trial is being trained, once the search is well on its way.\"\"\"
    if epochs_on_record(out) < 12:
        return None
    for node in others:
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        if any("ray::ResourceTrainable.train" in " ".join(child.cmdline()) for child in raylet.children()):
            return node
    return None


killer = kill_a_node(busy, lambda: epochs_on_record(out))
search(source, out, config=LONG_CONFIG, fit=LONG_FIT, resources=Resources())
"""


def on_nodes(program: str, source: str, out: Path) -> int:
    """Run a program on three nodes, one of which it kills; return how much was done then."""
    path = os.pathsep.join([str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER + program + END, source, str(out)],
        capture_output=True, text=True, timeout=550, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return int(re.search(r"done when a node died: (\d+)", done.stdout)[1])


@pytest.mark.ray
def test_a_node_that_dies_in_the_middle_changes_nothing(survey, tmp_path):
    done = on_nodes(PREPROCESS, str(survey), tmp_path / "on-nodes")
    assert done < len(list((tmp_path / "on-nodes").glob("part-*.parquet")))  # it died in the middle
    preprocess([f"{survey}/spectra"], f"{survey}/ssppOut.fits", str(tmp_path / "here"), resources=Resources(local=True))

    def rows_of(folder: Path) -> pa.Table:
        return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*"))]).sort_by("path")

    assert rows_of(tmp_path / "on-nodes").equals(rows_of(tmp_path / "here"))


@pytest.mark.ray
def test_a_node_that_dies_in_the_middle_of_a_search_changes_nothing(tmp_path):
    dataset = str(write(tmp_path / "dataset", rows(90)))
    done = on_nodes(TUNE, dataset, tmp_path / "on-nodes")
    summary = search(dataset, tmp_path / "here", config=LONG_CONFIG, fit=LONG_FIT)
    assert 12 <= done < summary.epochs
    assert len(summary.trials) == LONG_CONFIG.trials
    assert records(tmp_path / "on-nodes") == records(tmp_path / "here")
