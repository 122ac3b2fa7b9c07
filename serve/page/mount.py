"""The page under /ui of the gateway's application."""

from __future__ import annotations

import os

from fastapi import FastAPI, Response

from eosin.serve.page.cards import CSS, ICON
from eosin.serve.page.settings import PageSettings

# Gradio reads these when it is imported and when a page is built. It reports its use, looks for new versions and keeps a history
# of runs unless it is told not to.
_ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
# Darker than Gradio's pinks, which are hard to read on white.
_COLOURS = {
    "button_primary_background_fill": "#a02c68",
    "button_primary_background_fill_hover": "#7a2e5d",
    "button_primary_text_color": "white",
    "block_border_width": "1px",
    "block_label_text_color": "#7a2e5d",
    "block_title_text_color": "#7a2e5d",
    "block_label_text_color_dark": "#f0b6d2",
    "block_title_text_color_dark": "#f0b6d2",
}
_FONTS = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]
_MONO = ["ui-monospace", "Consolas", "monospace"]


def mount_page(app: FastAPI, settings: PageSettings) -> None:
    """Add the page. Uploads are deleted after an hour; the caller removes `settings.folder` itself."""
    os.environ.update(_ENVIRONMENT)
    os.environ["GRADIO_TEMP_DIR"] = str(settings.uploads)
    import gradio as gr

    from eosin.serve.page.layout import build_page

    gr.mount_gradio_app(
        app,
        build_page(settings),
        path="/ui",
        # Without it, files are asked for at the root of the server, where they are not.
        root_path="/ui",
        allowed_paths=[str(settings.example_folder)],
        max_file_size=settings.max_upload_bytes,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        theme=gr.themes.Soft(primary_hue="pink", secondary_hue="purple", neutral_hue="slate", font=_FONTS, font_mono=_MONO).set(**_COLOURS),
        css=CSS,
    )
    app.add_api_route("/favicon.ico", lambda: Response(ICON, media_type="image/svg+xml"))
