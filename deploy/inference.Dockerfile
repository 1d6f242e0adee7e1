# syntax=docker/dockerfile:1.9
# The inference tier: torch and a ChatGLM3 checkpoint folder, mounted read-only at /model. Build from the root:
#   docker build -f deploy/inference.Dockerfile -t attest-inference:0.1.0 .
FROM python:3.11.13-slim-bookworm AS build
# An index of one's own where nothing else can be reached: --build-arg PIP_INDEX_URL=https://…
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/attest
ENV PATH=/opt/attest/bin:$PATH
COPY requirements/inference.lock /build/requirements/inference.lock
RUN pip install --require-hashes --no-deps -r /build/requirements/inference.lock
RUN python -m venv /opt/builder && /opt/builder/bin/pip install hatchling==1.27.0
COPY pyproject.toml README.md LICENSE /build/
COPY gateway /build/gateway
COPY safety /build/safety
COPY audit /build/audit
COPY inference /build/inference
COPY migrations /build/migrations
RUN cd /build && /opt/builder/bin/python -m hatchling build --target wheel --directory /build/dist \
 && pip install --no-deps --no-index /build/dist/*.whl

FROM python:3.11.13-slim-bookworm
RUN groupadd --gid 10002 inference \
 && useradd --uid 10002 --gid 10002 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin inference
COPY --from=build /opt/attest /opt/attest
# torch and transformers look for a place to cache; the only one is memory.
ENV PATH=/opt/attest/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp \
    HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
USER 10002:10002
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=6s --start-period=300s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8081/health', timeout=5)"]
ENTRYPOINT ["attest"]
CMD ["inference", "--host", "0.0.0.0", "--port", "8081"]
