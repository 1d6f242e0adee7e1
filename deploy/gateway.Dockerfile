# syntax=docker/dockerfile:1.9
# The gateway: no torch, no compiler, no shell tricks at run time. Build from the repository's root:
#   docker build -f deploy/gateway.Dockerfile -t attest-gateway:0.1.0 .
FROM python:3.11.13-slim-bookworm AS build
# An index of one's own where nothing else can be reached: --build-arg PIP_INDEX_URL=https://…
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/attest
ENV PATH=/opt/attest/bin:$PATH
COPY requirements/gateway.lock /build/requirements/gateway.lock
RUN pip install --require-hashes --no-deps -r /build/requirements/gateway.lock
RUN python -m venv /opt/builder && /opt/builder/bin/pip install hatchling==1.27.0
COPY pyproject.toml README.md LICENSE /build/
COPY gateway /build/gateway
COPY safety /build/safety
COPY audit /build/audit
COPY inference /build/inference
COPY migrations /build/migrations
RUN cd /build && /opt/builder/bin/python -m hatchling build --target wheel --directory /build/dist \
 && pip install --no-deps --no-index /build/dist/*.whl \
 && ! python -c 'import torch' 2>/dev/null

FROM python:3.11.13-slim-bookworm
RUN groupadd --gid 10001 attest \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin attest \
 && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/attest /opt/attest
COPY --chmod=0555 deploy/entrypoint.sh /usr/local/bin/attest-entrypoint
ENV PATH=/opt/attest/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    ATTEST_HOST=0.0.0.0 ATTEST_PORT=8080 ATTEST_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/ready', timeout=5)"]
ENTRYPOINT ["attest-entrypoint"]
CMD ["attest", "serve"]
