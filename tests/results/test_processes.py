"""Several processes and one file of results: started apart, and forked while the file is open."""

import json

import apsw

PATIENCE_S = 120

OPEN = """
    import json, os, sys, threading
    from pathlib import Path
    from amply.results import connections
    from amply.results.file import ResultsFile

    results = ResultsFile(Path(sys.argv[1]))

    def put(key):
        results.put(key, b"value", expires_ms=None, now_ms=1)

    def wait_for_turn():
        print("ready", flush=True)
        sys.stdin.readline()
"""


def finish(*processes):
    """Let them go at the same time, then wait; gives what they said after "ready"."""
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        said.append(process.communicate(timeout=PATIENCE_S)[0])
        assert process.returncode == 0
    return said


def keys(path):
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        assert connection.pragma("integrity_check") == "ok"
        return {key for (key,) in connection.execute("SELECT key FROM result")}
    finally:
        connection.close()


def test_many_processes_that_make_the_file_together_lose_nothing(start, path):
    code = (
        OPEN
        + """
    wait_for_turn()
    for number in range(200):
        put(f"{sys.argv[2]}-{number}")
    """
    )
    finish(*[start(code, path, name) for name in range(6)])
    assert keys(path) == {f"{name}-{number}" for name in range(6) for number in range(200)}


def test_two_processes_that_count_a_thousand_times_each_have_counted_two_thousand(start, path):
    code = (
        OPEN
        + """
    wait_for_turn()
    print(json.dumps([results.count_up("count", 1) for _ in range(1000)]))
    """
    )
    said = finish(*[start(code, path) for _ in range(2)])
    assert sorted(number for line in said for number in json.loads(line)) == list(range(1, 2001))


def test_a_child_opens_the_file_for_itself_and_may_outlive_its_parent(start, path):
    """Were the parent's connection open over the fork, the child would write without a lock of its own, and the next
    process to come and go would remove the log that the child writes to."""
    parent = start(
        OPEN
        + """
    put("parent")
    reading, writing = os.pipe()
    if os.fork() == 0:
        assert not connections._open
        put("child, first")
        os.close(writing)
        os.read(reading, 1)  # until the parent is gone
        print("ready", flush=True)
        for number in range(3):
            sys.stdin.readline()
            put(f"child, {number}")
            print("put", flush=True)
        os._exit(0)
    assert not connections._open
    put("parent, again")
    os.close(reading)
    os._exit(0)
    """,
        path,
    )
    assert parent.stdout.readline() == "ready\n"
    for number in range(3):
        passing_by = start(OPEN + "    wait_for_turn()\n    put(sys.argv[2])\n", path, f"passing by, {number}")
        finish(passing_by)
        assert {"parent, again", "child, first", f"passing by, {number}"} <= keys(path)
        parent.stdin.write("go\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "put\n"
        assert f"child, {number}" in keys(path)
    expected = {"parent", "parent, again", "child, first"}
    assert keys(path) == expected | {f"{who}, {number}" for who in ("child", "passing by") for number in range(3)}


def test_a_fork_in_the_middle_of_other_threads_writes_hurts_neither(start, path):
    code = (
        OPEN
        + """
    done = threading.Event()

    def write(name):
        number = 0
        while not done.is_set():
            put(f"{name} {number % 50}")
            number += 1

    wait_for_turn()
    threads = [threading.Thread(target=write, args=[name]) for name in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        if (child := os.fork()) == 0:
            put(f"child {number}")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    done.set()
    for thread in threads:
        thread.join()
    """
    )
    finish(start(code, path))
    assert {f"child {number}" for number in range(20)} <= keys(path)
