"""The groups of fields, by subject; `config.default` puts them together."""
