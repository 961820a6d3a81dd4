"""Counters of the service as Prometheus text, and one line of JSON for each request."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Literal

AccessLog = Literal["off", "requests", "names"]
"""What is logged for requests: nothing, a line without names, or a line with the names of files and people."""

_BUCKETS = (
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)  # seconds: from a query of the gallery to a photograph of a crowd


class Metrics:
    """Counters. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: Counter[tuple[str, float]] = Counter()
        self._total: defaultdict[str, float] = defaultdict(float)
        self._stage_seconds: defaultdict[str, float] = defaultdict(float)
        self._stages: Counter[str] = Counter()
        self._faces: Counter[str] = Counter()
        self._began = time.time()

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer: the route's template (never what a client wrote), its status, and how long it took."""
        with self._lock:
            self._requests[path, status] += 1
            self._total[path] += seconds
            for bucket in _BUCKETS:
                self._seconds[path, bucket] += seconds <= bucket

    def stage(self, name: str, seconds: float) -> None:
        """Count the time of one stage of one request or face."""
        with self._lock:
            self._stage_seconds[name] += seconds
            self._stages[name] += 1

    def face(self, decision: str, timings_ms: Mapping[str, float]) -> None:
        """Count a face, by what was decided, and the time of its stages."""
        with self._lock:
            self._faces[decision] += 1
            for name, value in timings_ms.items():
                self._stage_seconds[name] += value / 1000
                self._stages[name] += 1

    def text(self, gauges: Mapping[str, float]) -> str:
        """Everything in Prometheus's text format, `gauges` (name to present value) included."""
        with self._lock:
            paths = sorted({path for path, _ in self._requests})
            lines = ["# TYPE facerec_requests_total counter"]
            lines += [
                f'facerec_requests_total{{path="{path}",status="{status}"}} {count}'
                for (path, status), count in sorted(self._requests.items())
            ]
            lines.append("# TYPE facerec_request_seconds histogram")
            for path in paths:
                count = sum(n for (other, _), n in self._requests.items() if other == path)
                lines += [
                    f'facerec_request_seconds_bucket{{path="{path}",le="{bucket}"}} {self._seconds[path, bucket]}'
                    for bucket in _BUCKETS
                ]
                lines.append(f'facerec_request_seconds_bucket{{path="{path}",le="+Inf"}} {count}')
                lines.append(f'facerec_request_seconds_sum{{path="{path}"}} {self._total[path]:.6f}')
                lines.append(f'facerec_request_seconds_count{{path="{path}"}} {count}')
            for name, values in (("stage_seconds", self._stage_seconds), ("stages", self._stages)):
                lines.append(f"# TYPE facerec_{name}_total counter")
                lines += [f'facerec_{name}_total{{stage="{stage}"}} {v:.6g}' for stage, v in sorted(values.items())]
            lines.append("# TYPE facerec_faces_total counter")
            lines += [f'facerec_faces_total{{decision="{name}"}} {n}' for name, n in sorted(self._faces.items())]
        shown = {**gauges, "start_time_seconds": self._began, "resident_bytes": resident_bytes()}
        for name, value in shown.items():
            lines += [f"# TYPE facerec_{name} gauge", f"facerec_{name} {value:.10g}"]
        return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Resident memory of this process, bytes; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


class RequestLog:
    """Writes one line of JSON for each request."""

    def __init__(self, what: AccessLog = "off", stream: IO[str] | None = None) -> None:
        """Write to `stream`; None: stderr."""
        self._what = what
        self._stream = stream or sys.stderr

    def write(self, known: Mapping[str, Any], names: Mapping[str, Any]) -> None:
        """One line of what is `known` of a request, with the `names` of files and people in it only if asked for."""
        if self._what == "off":
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **known}
        if self._what == "names":
            line |= names
        try:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads the log any more; requests are answered all the same
            self._what = "off"
