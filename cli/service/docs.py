"""The OpenAPI description as a page without script."""

from __future__ import annotations

from typing import Any


def docs_page(schema: dict[str, Any]) -> str:
    """The paths of `schema` with one sentence each, HTML."""
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_DOCS).render(schema=schema)


_DOCS = """<!doctype html><html lang="en"><meta charset="utf-8"><title>facerec API</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}
:root{color-scheme:light dark}code{background:#8883;padding:.1em .3em}
dt{margin-top:1rem;font-weight:600}</style><h1>facerec {{ schema.info.version }}</h1>
<p>Answers are JSON; errors are <code>{"error": {"code", "detail"}}</code>. The whole description:
<a href="openapi.json">openapi.json</a>. A page to try it: <a href="./">/</a>.</p><dl>
{% for path, verbs in schema.paths.items() %}{% for verb, what in verbs.items() %}
<dt><code>{{ verb.upper() }} {{ path }}</code></dt><dd>{{ what.description }}</dd>
{% endfor %}{% endfor %}</dl>
<pre>curl -F photo=@door.jpg http://127.0.0.1:8080/identify</pre></html>"""
