std = "max"
max_line_length = 140
files["spec/lua"] = { std = "max+busted" }
files["spec/prosody/modules"] = { read_globals = { module = { other_fields = true } } }
files["spec/exits/modules"] = { globals = { module = { other_fields = true } } }
files["benches/modules"] = { globals = { module = { other_fields = true } } }
