# syntax=docker/dockerfile:1
# Two images: `api` (no torch) and `worker` (with it).
FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 REGRAFT_HOME=/var/lib/regraft
RUN useradd --system --create-home --home-dir /var/lib/regraft regraft
WORKDIR /opt/regraft
# Which commit this is: docker build --build-arg SOURCE_COMMIT=$(git rev-parse --short=12 HEAD)
ARG SOURCE_COMMIT=""
COPY pyproject.toml setup.py README.md LICENSE ./
COPY server server
COPY app app
COPY worker worker
COPY regraft regraft
COPY migrations migrations

FROM base AS api
RUN pip install . ./server
USER regraft
ENV REGRAFT_HOST=0.0.0.0 REGRAFT_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8000/readyz').raise_for_status()"]
CMD ["regraft", "api"]

FROM base AS worker
RUN pip install . './server[worker]'
USER regraft
STOPSIGNAL SIGTERM
CMD ["regraft", "worker"]
