# One image, three services; compose.yaml says which program runs. No line here needs more than the classic builder.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS environment
WORKDIR /app
COPY requirements.lock pyproject.toml ./
COPY services/stack/bootstrap.py services/stack/bootstrap.py
RUN python3 services/stack/bootstrap.py /venv \
 && /venv/bin/python -m compileall -q -j 0 /venv/lib

FROM ${BASE_IMAGE}
WORKDIR /app
COPY --from=environment /venv /venv
COPY shared shared
COPY services services
COPY emulator emulator
# The one place that may be written to; a volume mounted here starts with its owner.
RUN /venv/bin/python -m compileall -q shared services emulator \
 && mkdir /data && chown 10001:10001 /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp
USER 10001:10001
VOLUME /data
CMD ["python", "-m", "services.enexa", "serve"]
