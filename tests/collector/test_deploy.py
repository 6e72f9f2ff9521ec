"""What is in `deploy/` agrees with itself and with the collector's settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from desirepath_collector.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.parametrize("file", ["compose.yaml", "cluster/compose.yaml"])
def test_a_compose_file_is_yaml_that_names_only_what_it_has(file: str) -> None:
    found = yaml.safe_load((DEPLOY / file).read_text())
    services, volumes = found["services"], found.get("volumes") or {}
    for service in services.values():
        assert "image" in service or "build" in service
        assert set(service.get("depends_on", ())) <= services.keys()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / file).parent.joinpath(source).exists()
            else:
                assert source in volumes


def test_the_collectors_service_agrees_with_its_image_and_settings() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["collector"]
    image = (DEPLOY / "Dockerfile").read_text()
    exposed = re.findall(r"^EXPOSE (.+)$", image, re.MULTILINE)[0].split()
    assert {port.split(":")[1] for port in service["ports"]} <= set(exposed)
    assert [volume.split(":")[1] for volume in service["volumes"]] == re.findall(
        r"^VOLUME (.+)$", image, re.MULTILINE
    )
    build = service["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    known = {f"DESIREPATH_{name.upper()}" for name in Settings.__struct_fields__}
    known |= {"DESIREPATH_WRITE_KEYS", "DESIREPATH_READ_TOKENS"}
    assert set(re.findall(r"DESIREPATH_[A-Z_]+", image)) | set(service["environment"]) <= known
