# The commands in a container: `docker build -t patientfold .`, then see docs/docker.md.
# DEVICE=cuda (default) also runs without a GPU; DEVICE=cpu makes an image that is several GB smaller.

FROM python:3.12-slim AS build
ARG DEVICE=cuda
# Where pip finds PyTorch's builds for this device, as PyTorch's own site names it; "": pip's usual index, which on
# x86-64 has those for CUDA.
ARG TORCH_INDEX=
# Extras of pyproject.toml, e.g. [itk,optuna].
ARG EXTRAS=[itk,dicom,tiff]
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python -m venv /opt/patientfold
ENV PATH=/opt/patientfold/bin:$PATH
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
RUN python -c "import torch; found = 'cuda' if torch.version.cuda else 'cpu'; \
    assert found == '$DEVICE', f'DEVICE is $DEVICE, but this PyTorch is for {found}: see TORCH_INDEX'"
COPY pyproject.toml setup.py README.md LICENSE ./
COPY pipeline pipeline
COPY conf conf
COPY data_manifests data_manifests
RUN pip install -c constraints.txt ".$EXTRAS"

FROM python:3.12-slim
COPY --from=build /opt/patientfold /opt/patientfold
RUN useradd --create-home --uid 1000 patientfold && mkdir /study && chown patientfold /study
ENV PATH=/opt/patientfold/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    MLFLOW_DISABLE_TELEMETRY=true \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER patientfold
WORKDIR /study
ENTRYPOINT ["patientfold"]
CMD ["--help"]
