"""`attest inference` as a process of its own, and ways to talk to it."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import openai

from tests.rig.ports import free_port


class Tier:
    def __init__(self, *arguments: str, log, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "inference", "--port", str(self.port), *arguments],
                stderr=sink,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            )

    def ready(self) -> bool:
        return self.send("GET", "/health")[0] == 200

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict]:
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def chat(self, content="hi", **fields) -> tuple[int, dict]:
        messages = [{"role": "user", "content": content}]
        body = {"model": "tiny", "messages": messages, "max_tokens": 8} | fields
        return self.send("POST", "/v1/chat/completions", json.dumps(body).encode())

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)


def head_of(length: int) -> bytes:
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
