from tools import config_reference


def test_document_agrees_with_the_models() -> None:
    found = config_reference.DOCUMENT.read_text()
    assert config_reference.document() == found, "run: python -m tools.config_reference"
