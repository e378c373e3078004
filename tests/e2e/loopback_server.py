"""An HTTP server on loopback whose answers a test gives."""

import http.server
import ssl
import threading


class LoopbackServer:
    """Calls get(request) and post(request), each connection on a thread of its own. Ends with its ExitStack.

    request is the BaseHTTPRequestHandler, with one method more: reply(). certificate: (certificate file, key
    file) for TLS.
    """

    def __init__(self, get, post=None, certificate=None):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                get(self)

            def reply(self, status, headers, body=b""):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        if post is not None:
            Handler.do_POST = lambda request: post(request)
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._http.daemon_threads = True
        self._http.block_on_close = False  # a connection may be kept open by who made it
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)
