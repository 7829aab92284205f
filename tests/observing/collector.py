"""A stand-in for an OpenTelemetry collector: it takes traces over HTTP, as the protocol has it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Attributes = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Seen:
    """A span as it came over the wire."""

    span: Span
    resource: Attributes
    attributes: Attributes


@dataclass
class Collector:
    """What came in, and where to send it."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def take(self, path: str, body: bytes) -> bytes:
        """Take a request to export; the answer to it."""
        request = ExportTraceServiceRequest.FromString(body)
        self.paths.add(path)
        self.bodies.append(body)
        for resource_spans in request.resource_spans:
            resource = _attributes(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    self.seen.append(Seen(span, resource, _attributes(span.attributes)))
        return bytes(ExportTraceServiceResponse().SerializeToString())

    def of(self, request_id: str) -> list[Seen]:
        """The spans of the trace in which a request was answered, the request's own first."""
        (root,) = [
            seen for seen in self.seen if seen.attributes.get("kerf.request_id") == request_id
        ]
        trace_id = root.span.trace_id
        others = [seen for seen in self.seen if seen.span.trace_id == trace_id and seen is not root]
        return [root, *others]

    def wait_for(self, count: int, seconds: float = 20) -> None:
        """Return when so many spans are there."""
        deadline = time.monotonic() + seconds
        while len(self.seen) < count:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.05)


def _attributes(pairs: "Iterator[KeyValue]") -> Attributes:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens while the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/x-protobuf"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = collector.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
