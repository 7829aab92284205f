# Kerf's image: Python, the locked dependencies, Kerf, and nothing to build with.
# scripts/build_image.sh builds it, with a Docker daemon or without.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# What Kerf runs in has no pip in it; the pip of another environment fills it.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/kerf
COPY requirements.txt /opt/
# Where packages come from, and the certificates of that place, are the builder's: secrets, which
# may be left out and leave nothing in the image.
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=certificates \
    PIP_CONFIG_FILE=/run/secrets/pip.conf /opt/pip/bin/pip --python /opt/kerf/bin/python \
    install --quiet --no-cache-dir --no-compile --disable-pip-version-check \
    --require-hashes --only-binary :all: -r /opt/requirements.txt
COPY alembic /app/alembic
COPY app /app/app
# Migrations are looked for beside the package `app`, so both stay together, outside of
# site-packages. Bytecode is made here, as nothing can be written later, and is not compared with
# the times of files, which a copy may change. What is deleted: the packages' own tests, and the
# descriptions of services of AWS other than S3 and those that credentials come from.
RUN packages=$(echo /opt/kerf/lib/python3.*/site-packages) \
    && printf '/app\n' > "$packages/kerf.pth" \
    && printf '#!/opt/kerf/bin/python\nfrom app.cli import main\n\nmain()\n' > /opt/kerf/bin/kerf \
    && chmod 755 /opt/kerf/bin/kerf \
    && rm -r "$packages/onnx/backend/test" \
    && find "$packages" -type d -name tests -prune -exec rm -r {} + \
    && find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d \
    ! -name s3 ! -name signin ! -name sso ! -name sso-oidc ! -name sts -exec rm -r {} + \
    && /opt/kerf/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
    /opt/kerf/lib /app

FROM ${BASE}
LABEL org.opencontainers.image.title="Kerf" \
      org.opencontainers.image.description="Says where to cut a neural network between a device and a server"
RUN groupadd --gid 10001 kerf \
    && useradd --uid 10001 --gid kerf --home-dir /data --no-create-home --shell /usr/sbin/nologin kerf \
    && install --directory --owner kerf --group kerf --mode 700 /data
COPY --from=build /opt/kerf /opt/kerf
COPY --from=build /app /app
ENV PATH=/opt/kerf/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KERF_AUTH=keys \
    KERF_DATA_DIR=/data
WORKDIR /app
# By number, so that Kubernetes can tell that it is not root.
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["kerf"]
CMD ["serve", "--host", "0.0.0.0"]
