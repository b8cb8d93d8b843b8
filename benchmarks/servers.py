"""Mayfly's servers on this machine, for a `with` block of a benchmark, and the limit of messages beside them."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time


def give_up(sentence):
    """Ends the benchmark, which is named as it is called below benchmarks/."""
    sys.exit("%s: %s" % (os.path.relpath(os.path.abspath(sys.argv[0]), os.path.dirname(os.path.abspath(__file__))), sentence))


def cannot_start(program, error):
    give_up("cannot start %s: %s; it is looked for in PATH and in the build that --build names" % (program, error.strerror))


def environment(build):
    """This environment with the programs of a build in front, and mpirun as a benchmark on one machine wants it."""
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_rmaps_base_oversubscribe="1",
               OMPI_MCA_hwloc_base_binding_policy="none", OMPI_MCA_mpi_yield_when_idle="1")
    build = os.path.abspath(build)
    env["PATH"] = ":".join([os.path.join(build, folder) for folder in ("", "mpi_launch", "benchmarks", "ior_plugin")] + [env["PATH"]])
    return env


def run(command, env, timeout=600, who=""):
    """What the command prints; its failure, with what it said, ends the benchmark. `who`: whose command it is, if not ours."""
    who = who and who + ": "
    try:
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    except OSError as error:
        cannot_start(command[0], error)
    except subprocess.TimeoutExpired:
        give_up("%s%s did not end within %d s" % (who, " ".join(command), timeout))
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-500:]
        give_up("%s%s ended with status %d: %s" % (who, " ".join(command), done.returncode, said))
    return done.stdout


def perftest(env, test, size, iterations, extra=()):
    """The last line of ucx_perftest between two processes: its eight numbers. Tried three times: it ends early now and then."""
    for _ in range(3):
        done = perftest_once(env, ["-t", test, "-s", str(size), "-n", str(iterations), "-f", *extra])
        numbers = [float(n) for n in re.findall(r"\d+\.?\d*", (done.stdout.strip().splitlines() or [""])[-1])]
        if done.returncode == 0 and len(numbers) == 8:
            return numbers
    said = (done.stderr.strip() or done.stdout.strip())[-500:]
    give_up("ucx_perftest -t %s -s %d ended three times without a result: %s" % (test, size, said))


def perftest_once(env, words):
    """How the client's side ended."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    try:
        server = subprocess.Popen(["ucx_perftest", "-p", port], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError as error:
        cannot_start("ucx_perftest", error)
    try:
        for _ in range(200):  # until the server listens
            done = subprocess.run(["ucx_perftest", "127.0.0.1", "-p", port, *words], env=env, capture_output=True, text=True, timeout=120)
            if done.returncode == 0 or server.poll() is not None:
                return done
            time.sleep(0.02)
        return done
    finally:
        server.kill()
        server.wait()


class Servers:
    """n servers; env gets their session."""

    def __init__(self, env, n, memory, *options):
        self.env, self.n, self.memory, self.options = env, n, memory, options

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="mayfly-bench-")
        self.env["MAYFLY_SESSION"] = os.path.join(self.dir.name, "s.json")
        self.log = open(os.path.join(self.dir.name, "log"), "w+")
        self.process = None
        try:
            self.launch("--memory", self.memory, *self.options)
        except SystemExit:
            self.__exit__()
            raise
        return self

    def launch(self, *options):
        try:
            self.process = subprocess.Popen(
                ["mpirun", "-n", str(self.n), "--oversubscribe", "--bind-to", "none", "mayflyd", "--member-per", "rank",
                 "--session", self.env["MAYFLY_SESSION"], *options],
                env=self.env, cwd=self.dir.name, stdout=self.log, stderr=subprocess.STDOUT)
        except OSError as error:
            cannot_start("mpirun", error)
        run(["mayfly", "wait", "--timeout", "60"], self.env)

    def kill(self):
        """All at once, the launcher too, as a node's operating system would; returns when they are gone."""
        pids = self.pids()
        self.process.kill()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        deadline = time.time() + 30
        while any(os.path.exists("/proc/%d/exe" % pid) for pid in pids):
            if time.time() > deadline:
                give_up("killed servers live: %s" % pids)
            time.sleep(0.01)

    def recover(self, *options):
        """Starts them again with what they held; the options are those of the first start that a start needs again."""
        self.launch("--recover", *options)

    def status(self):
        return [s["status"] for s in json.loads(run(["mayfly", "status", "--json"], self.env))["shards"]]

    def pids(self):
        return sorted({status["pid"] for status in self.status()})

    def __exit__(self, *unused):
        if self.process is not None:
            try:
                subprocess.run(["mayfly", "stop", "--no-flush"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
            except OSError:
                self.process.terminate()  # a build without it: mpirun ends what it started
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.dir.cleanup()
