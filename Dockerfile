# The MONAI Deploy application as an image in the layout of a MONAI Application Package, on a public base.
#
#   docker build -t universal-lesion .
#   docker run --rm --network none -v STUDY:/var/holoscan/input:ro -v OUT:/var/holoscan/output universal-lesion
#
# OUT must be writable for user 1000. The exit code is the application's (docs/deploy.md). For an NVIDIA GPU:
# --build-arg TORCH_BUILD=cu130, and run with --gpus all.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}

ARG TORCH_BUILD=cpu
ARG TORCH_VERSION=2.14.1
ARG TORCHVISION_VERSION=0.29.1
# model.pt in a folder, or a packed bundle (scripts/pack_bundle.py packed --weights ...), in the build context
ARG MODEL=bundle/models

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# The index serves both builds by name; PyPI's torch would bring 2.5 GB of CUDA into a CPU image.
RUN pip install --index-url "https://download.pytorch.org/whl/${TORCH_BUILD}" \
        "torch==${TORCH_VERSION}+${TORCH_BUILD}" "torchvision==${TORCHVISION_VERSION}+${TORCH_BUILD}"
COPY lesion_app/clinical/requirements.txt /tmp/requirements.txt
# Holoscan's wheel makes its links to shared libraries at the first start of Python, which only root may here.
RUN pip install -r /tmp/requirements.txt && python3 -m site && rm /tmp/requirements.txt

COPY . /tmp/source
RUN python3 /tmp/source/scripts/map_app.py /tmp/map \
    && mkdir -p /opt/holoscan /etc/holoscan /var/holoscan/input /var/holoscan/output \
    && mv /tmp/map/app /opt/holoscan/app \
    && cp /tmp/map/app.json /tmp/map/pkg.json /etc/holoscan/ \
    && mv /tmp/map/app.yaml /var/holoscan/app.yaml \
    && rm -r /tmp/map /tmp/source \
    && groupadd --gid 1000 holoscan \
    && useradd --uid 1000 --gid 1000 --create-home holoscan \
    && chown -R 1000:1000 /var/holoscan
COPY ${MODEL} /opt/holoscan/models/universal_lesion_ct_detection

ENV HOLOSCAN_APPLICATION=/opt/holoscan/app \
    HOLOSCAN_INPUT_PATH=/var/holoscan/input \
    HOLOSCAN_OUTPUT_PATH=/var/holoscan/output \
    HOLOSCAN_MODEL_PATH=/opt/holoscan/models \
    HOLOSCAN_WORKDIR=/var/holoscan \
    HOLOSCAN_CONFIG_PATH=/var/holoscan/app.yaml \
    HOLOSCAN_APP_MANIFEST_PATH=/etc/holoscan/app.json \
    HOLOSCAN_PKG_MANIFEST_PATH=/etc/holoscan/pkg.json \
    MPLCONFIGDIR=/tmp/matplotlib

LABEL org.opencontainers.image.title="Universal lesion detection in CT" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.monai.deploy.app-sdk="4.0.0"

WORKDIR /var/holoscan
USER 1000:1000
ENTRYPOINT ["python3", "/opt/holoscan/app"]
