"""How many processors a process may use, on machines that are faked."""

import os

import pytest

from overdrive.executor.topology import read_topology


def machine(root, cores, groups="", files=None):
    """Fake a machine: (package, core) of each processor, and files under sys/fs/cgroup."""
    for number, (package, core) in enumerate(cores):
        folder = root / f"sys/devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "core_id").write_text(f"{core}\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in (files or {}).items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


HYPERTHREADS = [(0, 0), (0, 0), (0, 1), (0, 1)]


def test_hardware_threads_of_one_core_count_once(tmp_path):
    topology = read_topology(machine(tmp_path, HYPERTHREADS), mask={0, 1, 2, 3})
    assert (topology.usable, topology.physical, topology.cores) == (4, 2, 2)
    assert topology.parallelism == 4


def test_equal_core_numbers_of_two_packages_are_two_cores(tmp_path):
    assert read_topology(machine(tmp_path, [(0, 0), (1, 0)]), mask={0, 1}).physical == 2


def test_the_affinity_mask_is_respected(tmp_path):
    topology = read_topology(machine(tmp_path, HYPERTHREADS), mask={2, 3})
    assert (topology.usable, topology.physical, topology.cores) == (2, 1, 1)


def test_a_machine_that_tells_nothing_has_as_many_cores_as_processors(tmp_path):
    topology = read_topology(tmp_path, mask={0, 1, 2})
    assert (topology.usable, topology.physical, topology.quota) == (3, 3, None)


@pytest.mark.parametrize(
    ("limit", "quota", "cores"),
    [("150000 100000", 1.5, 2), ("50000 100000", 0.5, 1), ("max 100000", None, 4)],
)
def test_a_quota_of_version_2_is_respected(tmp_path, limit, quota, cores):
    root = machine(tmp_path, [(0, i) for i in range(4)], "0::/pod\n", {"pod/cpu.max": limit})
    topology = read_topology(root, mask=range(4))
    assert (topology.quota, topology.cores) == (quota, cores)


def test_the_smallest_quota_around_a_group_counts(tmp_path):
    files = {"a/b/cpu.max": "400000 100000", "a/cpu.max": "100000 100000", "cpu.max": "max 100000"}
    root = machine(tmp_path, [(0, i) for i in range(8)], "0::/a/b\n", files)
    assert read_topology(root, mask=range(8)).quota == 1.0


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_is_respected(tmp_path, mount):
    files = {
        f"{mount}/job/cpu.cfs_quota_us": "200000\n",
        f"{mount}/job/cpu.cfs_period_us": "100000\n",
        f"{mount}/cpu.cfs_quota_us": "-1\n",
        f"{mount}/cpu.cfs_period_us": "100000\n",
    }
    groups = "4:cpu,cpuacct:/job\n1:name=systemd:/\n"
    root = machine(tmp_path, [(0, i) for i in range(8)], groups, files)
    assert read_topology(root, mask=range(8)).cores == 2


def test_unreadable_numbers_are_no_quota(tmp_path):
    root = machine(tmp_path, [(0, 0)], "nonsense\n0::/\n", {"cpu.max": "much 0"})
    assert read_topology(root, mask={0}).quota is None


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity masks")
def test_this_machine_has_at_least_one_core():
    topology = read_topology()
    assert 1 <= topology.cores <= topology.parallelism <= topology.usable <= topology.logical
