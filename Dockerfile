# The tallyman command with its page, for CI and for machines without Python: docker build -t tallyman .
# BASE: any image with Python 3.11 or later, with venv and pip.
ARG BASE=python:3.13-slim

FROM ${BASE} AS made
COPY requirements/cli.txt /src/requirements/cli.txt
RUN python3 -m venv /opt/tallyman \
 && /opt/tallyman/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /src/requirements/cli.txt
COPY . /src
RUN /opt/tallyman/bin/pip install --no-cache-dir --disable-pip-version-check --no-build-isolation --no-deps /src

FROM ${BASE}
COPY --from=made /opt/tallyman /opt/tallyman
RUN mkdir -p /home/tallyman /work && chown 10001:10001 /home/tallyman /work
USER 10001:10001
ENV HOME=/home/tallyman PATH=/opt/tallyman/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1
WORKDIR /work
ENTRYPOINT ["tallyman"]
