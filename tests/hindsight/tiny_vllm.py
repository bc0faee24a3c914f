"""Stands where `python -m` looks for vLLM's server; of which it has the few words that matter.

It prints its command line, and leaves with a message where it is told to `--end-with`.
"""

import http.server
import json
import sys

REPLY = {"episode_summary": "s", "episode_skill": "k", "step_skills": {"2": "a"}}


def argument(flag: str) -> str | None:
    return sys.argv[sys.argv.index(flag) + 1] if flag in sys.argv else None


class Words(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["model"] == argument("--served-model-name")
        assert asked["response_format"]["type"] == "json_schema"
        message = {"role": "assistant", "content": json.dumps(REPLY)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        body = {"id": "c", "object": "chat.completion", "created": 0, "model": asked["model"]}
        self.answer({**body, "choices": [choice], "usage": usage})

    def answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    print("started with", *sys.argv[1:], flush=True)
    if message := argument("--end-with"):
        raise SystemExit(message)
    port = argument("--port")
    assert port is not None
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Words).serve_forever()
