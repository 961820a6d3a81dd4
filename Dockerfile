# The service in a container: see docs/deploy.md. No home, no shell needed, and the root may be read-only.
FROM python:3.12-slim

RUN useradd --system --no-create-home --uid 10001 facerec && mkdir /data && chown 10001 /data
COPY . /source
RUN pip install --no-cache-dir -c /source/constraints.txt "/source[serve,heif]" && rm -rf /source

USER 10001
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ready', timeout=5)"]
ENTRYPOINT ["facerec"]
CMD ["serve", "-g", "/data/gallery", "--host", "0.0.0.0"]
