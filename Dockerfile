# nplb in a small image: built in one stage, run in another that has no compiler and no pip.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY nplb ./nplb
RUN python -m venv /opt/nplb \
 && /opt/nplb/bin/pip install --no-cache-dir -c constraints.txt . \
 && /opt/nplb/bin/pip uninstall -y pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/nplb --create-home nplb \
 && rm -rf /usr/local/lib/python3.13/ensurepip /usr/local/lib/python3.13/site-packages/pip* \
    /usr/local/bin/pip*
COPY --from=build /opt/nplb /opt/nplb
ENV PATH=/opt/nplb/bin:$PATH PYTHONDONTWRITEBYTECODE=1 STATE_DIRECTORY=/var/lib/nplb
USER 10001
VOLUME /var/lib/nplb
EXPOSE 9090 30000-32767
HEALTHCHECK --interval=10s --timeout=3s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9090/livez')"]
# It writes to /var/lib/nplb and, for a moment, to /tmp; it needs no capability for the NodePort
# range, and NET_BIND_SERVICE below 1024. The host's network spares a hop and mirrors the range:
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --cap-add NET_BIND_SERVICE \
#     --network host -v /etc/nplb:/etc/nplb:ro -v nplb:/var/lib/nplb nplb
ENTRYPOINT ["nplb"]
CMD ["run", "--config", "/etc/nplb/nplb.yaml"]
