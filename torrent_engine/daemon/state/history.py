"""Rates of the past: by the second for an hour, by the minute for a day, coarser for a month."""

from collections import deque
from typing import Final, NamedTuple

from torrent_engine.daemon.state.store import StoredTable

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
STEPS: Final = {1: HOUR_S, 60: DAY_S, 900: 30 * DAY_S}
"""For how many seconds the values of each step, in seconds, are kept."""
KEPT_STEPS: Final = (60, 900)
"""Steps that outlive the process."""
_PAIR: Final = 2


class RateSample(NamedTuple):
    """The mean rates of one step, in bytes per second."""

    at: int
    """Where the step begins, in seconds since 1970; a multiple of the step."""
    download_bytes_per_s: int
    upload_bytes_per_s: int


class _Series:
    """The samples of one step, and the sums of the step that is not over yet."""

    def __init__(self, step_s: int) -> None:
        self.step_s = step_s
        self.samples: deque[RateSample] = deque(maxlen=STEPS[step_s] // step_s)
        self._at = 0
        self._count = 0
        self._down = self._up = 0.0

    def add(self, now_at: float, down: float, up: float) -> RateSample | None:
        """Take rates of a moment; return the sample of a step that is over now."""
        at = int(now_at) // self.step_s * self.step_s
        done = None
        if at != self._at:
            done = self._close()
            self._at, self._count, self._down, self._up = at, 0, 0.0, 0.0
        self._count += 1
        self._down += down
        self._up += up
        return done

    def _close(self) -> RateSample | None:
        if not self._count:
            return None
        sample = RateSample(
            self._at, round(self._down / self._count), round(self._up / self._count)
        )
        if self.samples and self.samples[-1].at >= sample.at:  # the clock was set back
            self.samples = deque(
                (each for each in self.samples if each.at < sample.at), self.samples.maxlen
            )
        self.samples.append(sample)
        return sample


class RateHistory:
    """The rates of all torrents together; :meth:`add` is called once a second."""

    def __init__(self, table: StoredTable) -> None:
        self._table = table
        self._series = {step: _Series(step) for step in STEPS}
        self._load()

    def _load(self) -> None:
        found: dict[int, list[RateSample]] = {step: [] for step in KEPT_STEPS}
        for key, value in self._table.items():
            step, sample = _read(key, value)
            if sample is None or step not in found:
                self._table.drop(key)
            else:
                found[step].append(sample)
        for step, samples in found.items():
            self._series[step].samples.extend(sorted(samples))

    def add(self, now_at: float, download_bytes_per_s: float, upload_bytes_per_s: float) -> None:
        """Take the rates of this moment."""
        for step, series in self._series.items():
            done = series.add(now_at, download_bytes_per_s, upload_bytes_per_s)
            if done is not None and step in KEPT_STEPS:
                self._keep(step, done)

    def _keep(self, step: int, sample: RateSample) -> None:
        self._table.put(f"{step}:{sample.at}", [*sample[1:]])
        oldest = sample.at - STEPS[step]
        for key, _ in self._table.items() if sample.at % HOUR_S == 0 else ():
            of_step, _, at = key.partition(":")
            if of_step == str(step) and int(at) < oldest:
                self._table.drop(key)

    def samples(self, step_s: int, since_at: float = 0.0) -> list[RateSample]:
        """Return the samples of a step, the oldest first; KeyError for another step."""
        return [each for each in self._series[step_s].samples if each.at >= since_at]


def _read(key: str, value: object) -> tuple[int, RateSample | None]:
    step, _, at = key.partition(":")
    if not (step.isdigit() and at.isdigit() and isinstance(value, list) and len(value) == _PAIR):
        return 0, None
    if not all(isinstance(each, int) for each in value):
        return 0, None
    return int(step), RateSample(int(at), value[0], value[1])
