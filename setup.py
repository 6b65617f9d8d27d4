"""Which folders make up the wheel; everything else stands in pyproject.toml.

`conf/` and `data_manifests/` stay at the top of the repository and ship inside the package.
"""

from setuptools import find_packages, setup

SHIPPED = {"pipeline.conf": "conf", "pipeline.data_manifests": "data_manifests"}

setup(packages=[*find_packages(include=["pipeline*"]), *SHIPPED], package_dir=SHIPPED)
