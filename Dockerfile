# The server without torch. Build: docker build -t limbeck .
# Run: docker run -p 8000:8000 -e LIMBECK_TOKEN=... -v /path/to/index:/index limbeck
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /opt/limbeck \
    && /opt/limbeck/bin/pip install --no-cache-dir --constraint constraints.txt ".[serve]"

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home limbeck
COPY --from=build /opt/limbeck /opt/limbeck
ENV PATH=/opt/limbeck/bin:$PATH OMP_NUM_THREADS=1
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
# the token in LIMBECK_TOKEN guards it; name the hosts that clients call it by with --allow-host instead of "*"
CMD ["limbeck", "serve", "/index", "--host", "0.0.0.0", "--allow-host", "*"]
