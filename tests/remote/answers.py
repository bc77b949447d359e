"""What stand-ins that speak HTTP have in common."""

import http.server


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with a length each time, and says nothing of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def reply(self, status, content=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
