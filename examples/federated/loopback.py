"""Federated training as separate processes on 127.0.0.1: a SuperLink, a SuperNode for each client, and the run.

python loopback.py TRAIN WORK [--virtual] [--kill CLIENT@ROUND] [--again-after SECONDS] [KEY=VALUE ...]

As simulate.py; WORK also gets the logs. --virtual is `flwr run` on virtual clients, in the simulation engine of a
SuperLink that ends with the run. --kill sends SIGKILL to a client's processes while it trains in that round, and starts
it again later. All processes are gone when this one ends, however it ends short of its own SIGKILL.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from cloze_federated import shards
from cloze_federated.settings import Settings
from simulate import arguments, parse

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
MARK = "CLOZE_LOOPBACK"


class Federation:
    """The processes. Each inherits a mark in its environment, by which even those are found that left their parents."""

    def __init__(self, work: Path, settings: Settings, virtual: bool) -> None:
        self.work, self.settings, self.virtual = work, settings, virtual
        self.mark = secrets.token_hex(16)
        self.port = free_port()
        self.link: subprocess.Popen[bytes] | None = None
        self.nodes: dict[int, subprocess.Popen[bytes]] = {}
        self.closing = threading.Event()
        own = {
            MARK: self.mark,
            "FLWR_HOME": str(work / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        self.environment = {**os.environ, **own}

    def __enter__(self) -> Federation:
        (self.work / "flwr").mkdir(parents=True, exist_ok=True)
        connection = f'[superlink.loopback]\naddress = "{HOST}:{self.port}"\ninsecure = true\n'
        (self.work / "flwr" / "config.toml").write_text(f'[superlink]\ndefault = "loopback"\n{connection}')
        try:
            link = ["flower-superlink", "--insecure", "--host", HOST, "--port", str(self.port)]
            link += ["--simulation"] if self.virtual else []
            self.link = self.start("superlink", link)
            self.wait_until_healthy(60)
            for client in range(0 if self.virtual else self.settings.clients):
                self.start_node(client)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """A process in a group of its own, whose output goes to a log."""
        with open(self.log(name), "ab") as log:
            return subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def start_node(self, client: int) -> None:
        """The SuperNode of a client, which knows no shard but its own."""
        shard = shards.shard_file(Path(self.settings.shards), client).absolute()
        node = ["flower-supernode", "--insecure", "--superlink", f"{HOST}:{self.port}", "--host", HOST]
        node += ["--port", str(free_port()), "--node-config", f"partition-id={client} shard='{shard}'"]
        self.nodes[client] = self.start(f"client-{client:02}", node)

    def log(self, name: str) -> Path:
        """Log of a process."""
        return self.work / f"{name}.log"

    def wait_until_healthy(self, seconds: float) -> None:
        """Returns when the SuperLink answers."""
        end = time.monotonic() + seconds
        while True:
            if self.link is not None and self.link.poll() is not None:
                raise RuntimeError(f"flower-superlink ended with {self.link.returncode}: see {self.log('superlink')}")
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self.port}/health", timeout=1):
                    return
            except OSError:
                if time.monotonic() > end:
                    log = self.log("superlink")
                    raise TimeoutError(f"the SuperLink does not answer after {seconds:g} s: see {log}") from None
                time.sleep(0.2)

    def run(self) -> None:
        """The run; its output is shown as it comes."""
        own = self.settings.config().items()
        config = " ".join(f"{key}={json.dumps(value)}" for key, value in own if value != "")
        command = ["flwr", "run", str(HERE), "loopback", "--stream", "--run-config", config]
        if self.virtual:
            size = f"num-supernodes={self.settings.clients} client-resources-num-cpus=1 client-resources-num-gpus=0.0"
            command += ["--federation-config", size]
        subprocess.run(command, env=self.environment, check=True)

    def kill_in_round(self, client: int, server_round: int, again_after: float) -> None:
        """SIGKILL to a client's processes some moments after it has the round's message; then it starts anew."""
        marker = f"ROUND {server_round}]"
        while marker not in self.log(f"client-{client:02}").read_text(errors="replace"):
            time.sleep(0.1)
        time.sleep(2)
        os.killpg(self.nodes[client].pid, signal.SIGKILL)
        print(f"killed client {client} in round {server_round}", flush=True)
        if self.closing.wait(again_after):
            return
        self.start_node(client)
        print(f"started client {client} again", flush=True)

    def close(self) -> None:
        """Ends every process: asks, then kills, then looks for the mark."""
        self.closing.set()
        own = [*self.nodes.values(), *([self.link] if self.link else [])]
        for process in own:
            if process.poll() is None:
                process.terminate()
        for process in own:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        end = time.monotonic() + 5
        while (left := self.marked()) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        print(f"all processes ended, {len(left)} of them killed", flush=True)

    def marked(self) -> list[int]:
        """Processes whose environment has the mark; of Linux."""
        mark, found = f"{MARK}={self.mark}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue  # ended meanwhile, or another user's
        return found


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def last_round(settings: Settings) -> Any:
    """The last entry of the run's history."""
    path = Path(settings.history)
    return json.loads(path.read_text())[-1] if path.is_file() else {"round": 0}


def main() -> None:
    """The command."""
    parser = arguments(__doc__)
    parser.add_argument("--virtual", action="store_true", help="in the simulation engine")
    parser.add_argument("--kill", metavar="CLIENT@ROUND")
    parser.add_argument("--again-after", type=float, default=5, help="seconds")
    given = parser.parse_intermixed_args()
    if given.virtual and given.kill:
        parser.error("--kill needs processes, --virtual has none")
    work = given.work.absolute()
    config = {"clients": 3, "shards": str(work / "shards"), "history": str(work / "history.json")}
    settings = Settings.of({**config, **parse(given.config)})
    print(shards.write(given.train, Path(settings.shards), settings.clients, given.alpha, settings.seed, given.least))
    Path(settings.history).unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with Federation(work, settings, given.virtual) as federation:
        if given.kill:
            client, _, number = given.kill.partition("@")
            task = (int(client), int(number), given.again_after)
            threading.Thread(target=federation.kill_in_round, args=task, daemon=True).start()
        federation.run()
    if last_round(settings)["round"] != settings.rounds:
        sys.exit(f"round {last_round(settings)['round']} of {settings.rounds} is the last complete one: see {work}")


if __name__ == "__main__":
    main()
