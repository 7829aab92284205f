"""One router per subject: an endpoint parses, calls one service method, returns."""
