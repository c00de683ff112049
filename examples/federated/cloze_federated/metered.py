"""A grid that counts what travels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run


class Metered(Grid):
    """Passes everything on, and adds up the bytes of the records of each message by its node."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.down: Counter[int] = Counter()
        """Sent to a node."""
        self.up: Counter[int] = Counter()
        """Received from a node."""
        self.errors: list[str] = []
        """Why replies were errors, or did not come."""

    def reset(self) -> None:
        """Forgets the last round."""
        self.down, self.up, self.errors = Counter(), Counter(), []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Sends, waits, counts."""
        asked = list(messages)
        for message in asked:
            self.down[message.metadata.dst_node_id] += size(message.content)
        replies = list(self.grid.send_and_receive(asked, timeout=timeout))
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                self.errors.append(reply.error.reason or f"error {reply.error.code}")
            else:
                self.up[node] += size(reply.content)
        if len(replies) < len(asked):
            self.errors.append(f"{len(asked) - len(replies)} did not answer within {timeout:g} s")
        return replies

    def set_run(self, run: Run) -> None:
        """Of the grid within."""
        self.grid.set_run(run)

    @property
    def run(self) -> Run:
        """Of the grid within."""
        return self.grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Of the grid within."""
        return self.grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Of the grid within."""
        return self.grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Of the grid within."""
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Of the grid within."""
        return self.grid.pull_messages(message_ids)


def size(content: RecordDict) -> int:
    """Bytes of the records: numbers of arrays, the rest as it is serialized."""
    arrays = sum(len(array.data) for record in content.array_records.values() for array in record.values())
    others = [*content.config_records.values(), *content.metric_records.values()]
    return arrays + sum(len(record.deflate()) for record in others)
