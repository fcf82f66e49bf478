# docker build -t slidecam .
# docker run --rm -v /data/slides:/data slidecam predict /data --model /data/bundle --out /data/results
# On Linux with --user "$(id -u):$(id -g)", so that results are yours. Never built: no Docker was at hand.
FROM node:22-slim AS page
COPY web/package.json web/package-lock.json /web/
RUN npm ci --prefix /web

FROM python:3.12-slim AS wheel
COPY . /src
COPY --from=page /web/node_modules /src/web/node_modules
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.12-slim
ARG EXTRAS=dicom,explain,parquet,remote,server,train,volumes
ARG TORCH=https://download.pytorch.org/whl/cpu
# grad-cam's OpenCV is linked against both.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir torch torchvision --index-url "$TORCH" && \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[$EXTRAS]" && \
    useradd --create-home slidecam
USER slidecam
WORKDIR /home/slidecam
ENTRYPOINT ["slidecam"]
CMD ["--help"]
