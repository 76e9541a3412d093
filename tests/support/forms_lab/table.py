"""The table: all forms, in the order of the page."""

from __future__ import annotations

from forms_lab import conda_forms, pip_forms, project_forms, tamper_forms, uv_forms

FORMS = (*pip_forms.FORMS, *uv_forms.FORMS, *project_forms.FORMS, *conda_forms.FORMS, *tamper_forms.FORMS)
MARKERS = {form.name: f"mark{number:03}" for number, form in enumerate(FORMS)}
"""What is unique to a row: `mark017x` and `mark017y` are its packages."""
