"""An nginx with a configuration made for one measurement."""

import os

_CONFIG = """
daemon off;
worker_processes {workers};
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log {dir}/access.log;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  default_type application/octet-stream;
  client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp; fastcgi_temp_path {dir}/tmp;
  uwsgi_temp_path {dir}/tmp; scgi_temp_path {dir}/tmp;
  server {{
    listen {host}:{port}{ssl};
    root {root};
    {tls}
    {extra}
  }}
}}
"""


class Nginx:
    """Serves the files below `root` at `url`; ends with the Supervisor that it was started in.

    certificate: (certificate file, key file) for TLS 1.3. extra: lines for the server block.
    """

    def __init__(self, programs, root, port, host="127.0.0.1", node=None, workers=1,
                 certificate=None, extra="", name="nginx"):
        self._dir = os.path.join(programs.log_dir, name)
        os.makedirs(os.path.join(self._dir, "tmp"), exist_ok=True)
        tls = ""
        if certificate:
            tls = (f"ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]}; "
                   "ssl_protocols TLSv1.3;")
        config = os.path.join(self._dir, "nginx.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(_CONFIG.format(dir=self._dir, workers=workers, host=host, port=port,
                                      ssl=" ssl" if certificate else "", root=os.path.abspath(root),
                                      tls=tls, extra=extra))
        self.url = f"{'https' if certificate else 'http'}://{host}:{port}"
        # -e: without it a message goes to the compiled-in log path before the configuration is read.
        self.process = programs.start(name, ["nginx", "-e", os.path.join(self._dir, "error.log"),
                                             "-p", self._dir, "-c", config], node=node)
        self.process.wait_for_port(port, host, node=node)

    def sent_body_bytes(self):
        """Bytes of bodies sent in the requests that are finished."""
        total = 0
        with open(os.path.join(self._dir, "access.log"), encoding="utf-8", errors="replace") as log:
            for line in log:
                fields = line.rsplit('"', 5)  # … "request" status bytes "referrer" "agent"
                total += int(fields[1].split()[1])
        return total
