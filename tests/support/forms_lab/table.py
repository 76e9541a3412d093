"""The table: all forms, in the order of the page."""

from __future__ import annotations

from forms_lab import conda_forms, pip_forms, project_forms, tamper_forms, uv_forms

SECTIONS = {
    "pip, however it is called": pip_forms.SPELLINGS,
    "pip, wherever it installs to": pip_forms.TARGETS,
    "pip, whatever it installs": pip_forms.SOURCES,
    "uv": uv_forms.UV,
    "Makers of environments": uv_forms.MAKERS,
    "Project managers": project_forms.PROJECTS,
    "Old build scripts": project_forms.OLD,
    "Notebooks": project_forms.NOTEBOOKS,
    "conda": conda_forms.FORMS,
    "Without a package tool": tamper_forms.FORMS,
    "What is no operation": pip_forms.NOTHING,
}
FORMS = tuple(form for forms in SECTIONS.values() for form in forms)
MARKERS = {form.name: f"mark{number:03}" for number, form in enumerate(FORMS)}
"""What is unique to a row: `mark017x` and `mark017y` are its packages."""
