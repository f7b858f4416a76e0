"""Celery's result backend on one SQLite file: `result_backend = "amply+sqlite:////absolute/results.sqlite"`.

Everything after `sqlite:///` is the path, as it stands; without a further slash it is relative to the folder that the
app is made in. Celery (5.6 and 5.7, celery/backends/base.py) makes the keys, and with its `result_serializer` and
`result_accept_content` the values; here they are kept, waited for and counted. Must not know any task or queue.
"""

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from celery import states
from celery.backends.base import KeyValueStoreBackend
from celery.exceptions import ImproperlyConfigured
from kombu.utils.encoding import bytes_to_str

from amply.clock import Clock, SystemClock
from amply.results.faults import ResultsFault
from amply.results.file import ResultsFile
from amply.results.waiting import Pauses

# One transaction's worth of `celery.backend_cleanup`: other writers wait no longer than it takes.
_CLEANUP_STEP = 500


class SqliteBackend(KeyValueStoreBackend):  # type: ignore[misc]
    """Results, groups and chords. The file is made with the first of them. Errors are `ResultsFault`.

    A part of a chord counts once however often its message is delivered, and one that comes again after the chord's end
    changes nothing: SQS delivers at least once.
    """

    key_t = staticmethod(bytes_to_str)
    supports_native_join = True
    implements_incr = True
    supports_result_compression = True
    supports_failure_expires = True

    def __init__(self, app: Any, *, url: str | None, clock: Clock | None = None, **options: Any) -> None:
        super().__init__(app, url=url, **options)
        self._clock = clock or SystemClock()
        self._file = ResultsFile(_path(url))
        failure_expires = app.conf.get("result_failure_expires")
        self._failure_expires = self.expires if failure_expires is None else self.prepare_expires(failure_expires)
        # Celery gives `incr` the chord alone; which part it counts is left here, by thread, on the way.
        self._counted = threading.local()

    def as_uri(self, include_password: bool = False) -> str:  # noqa: ARG002, FBT001, FBT002 - Celery's signature; there is no password
        """The URL as it is configured."""
        return f"amply+{self.url}"

    def get(self, key: str) -> bytes | None:
        """The value, unless its time is over; a count as its digits."""
        return self._file.get(key, self._clock.now_ms())

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values in the order of the keys, all from one moment."""
        found = self._file.get_many(keys, self._clock.now_ms())
        return [found.get(key) for key in keys]

    def set(self, key: str, value: str | bytes) -> None:
        """Keep the value for `result_expires`."""
        self._put(key, value, self.expires)

    def _set_with_state(self, key: str, value: str | bytes, state: str) -> None:
        self._put(key, value, self._failure_expires if state == states.FAILURE else self.expires)

    def _put(self, key: str, value: str | bytes, lifetime_s: float | None) -> None:
        now_ms = self._clock.now_ms()
        self._file.put(
            key,
            value.encode() if isinstance(value, str) else value,
            expires_ms=_end_ms(now_ms, lifetime_s),
            now_ms=now_ms,
        )

    def delete(self, key: str) -> None:
        """Remove the key, if it is there."""
        self._file.remove(key, self._clock.now_ms())

    def expire(self, key: str, value: float | None) -> None:
        """Keep the key for this many seconds from now; without a number, or with 0, for good."""
        now_ms = self._clock.now_ms()
        self._file.keep_until(key, expires_ms=_end_ms(now_ms, value), now_ms=now_ms)

    def incr(self, key: str) -> int:
        """Count one up. Inside `on_chord_part_return` the part that it is about is counted only once."""
        now_ms = self._clock.now_ms()
        part = getattr(self._counted, "part", None)
        if part is None:
            return self._file.count_up(key, now_ms)
        # `result_chord_expires` is new in Celery 5.7.
        lifetime_s = getattr(self, "chord_expires", self.expires)
        return self._file.count_once(key, _mark(key, part), expires_ms=_end_ms(now_ms, lifetime_s), now_ms=now_ms)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """Celery's, but that a part which was counted and whose chord has ended since is left alone."""
        if request.group and request.id:
            mark = _mark(self.get_key_for_chord(request.group), request.id)
            if self.get(mark) is not None and self.get(self.get_key_for_group(request.group)) is None:
                return
        self._counted.part = request.id
        try:
            super().on_chord_part_return(request, state, result, **options)
        finally:
            self._counted.part = None

    def _apply_chord_incr(self, header_result_args: Sequence[Any], body: Any, **options: Any) -> None:
        # A chord that is applied again, because the job before it was delivered twice, keeps its id and begins anew.
        key = self.get_key_for_chord(header_result_args[0])
        self.delete(key)
        self._file.remove_under(_mark(key, ""), self._clock.now_ms())
        super()._apply_chord_incr(header_result_args, body, **options)

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float | None = None,
        *,
        on_interval: Callable[[], object] | None = None,
        **_: Any,
    ) -> Any:
        """The result's meta data once it is ready, looked for after ever longer pauses, at most of `interval` seconds.

        Raises Celery's `TimeoutError` after `timeout` seconds.
        """
        pauses = Pauses(self._clock, self._sleep, timeout_s=timeout, longest_s=interval)
        while (meta := self.get_task_meta(task_id))["status"] not in states.READY_STATES:
            if on_interval:
                on_interval()
            pauses.pause()
        return meta

    def get_many(
        self,
        task_ids: Iterable[str],
        timeout: float | None = None,
        interval: float | None = None,
        *,
        on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        max_iterations: int | None = None,
        **_: Any,
    ) -> Iterator[tuple[str, Any]]:
        """Ids and meta data, each as soon as it is ready. As `wait_for`, or at most `max_iterations` looks."""
        pauses = Pauses(self._clock, self._sleep, timeout_s=timeout, longest_s=interval)
        waiting = set(task_ids)
        for look in itertools.count(1):
            ready = self._ready(waiting)
            waiting -= ready.keys()
            for task_id, meta in ready.items():
                if on_message:
                    on_message(meta)
                yield task_id, meta
            if not waiting or look == max_iterations:
                return
            if on_interval:
                on_interval()
            pauses.pause()

    def _ready(self, task_ids: Collection[str]) -> dict[str, Any]:
        """The meta data of those that are ready, from this process's cache or else from the file in one read."""
        found = {task_id: self._cache.get(task_id) for task_id in task_ids}
        missing = [task_id for task_id, meta in found.items() if meta is None]
        values = self.mget([self.get_key_for_task(task_id) for task_id in missing])
        read = {task_id: self.decode_result(value) for task_id, value in zip(missing, values, strict=True) if value}
        ready = {
            task_id: meta
            for task_id, meta in {**found, **read}.items()
            if meta and meta["status"] in states.READY_STATES
        }
        self._cache.update(ready)
        return ready

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Whether `result_backend_always_retry` may try again: where the fault may pass."""
        return isinstance(exc, ResultsFault) and exc.may_pass

    def cleanup(self) -> None:
        """Remove every result whose time is over, and make the file smaller: the task `celery.backend_cleanup`."""
        now_ms = self._clock.now_ms()
        while self._file.remove_expired(now_ms, _CLEANUP_STEP):
            pass
        self._file.give_back_room()

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {"url": self.url, **(kwargs or {})})


def _path(url: str | None) -> Path:
    """The absolute path that a URL names."""
    scheme, _, path = (url or "").partition("://")
    if scheme != "sqlite" or not path.startswith("/") or path == "/":
        raise ImproperlyConfigured(
            f"The result backend {url!r} names no file. Write amply+sqlite:////absolute/path, or with three slashes a "
            "path from the folder that the app starts in."
        )
    return Path(path[1:]).absolute()


def _end_ms(now_ms: int, lifetime_s: float | None) -> int | None:
    return now_ms + round(lifetime_s * 1000) if lifetime_s else None


def _mark(chord_key: str, task_id: str) -> str:
    return f"{chord_key}/{task_id}"
