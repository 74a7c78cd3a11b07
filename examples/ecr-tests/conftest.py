pytest_plugins = ["tallyman_local.pytest_plugin"]
