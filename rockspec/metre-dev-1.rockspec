rockspec_format = "3.0"
package = "metre"
version = "dev-1"
source = {
	url = "git+file://.",
}
description = {
	summary = "A native statistics provider for the Prosody XMPP server",
	detailed = "Keeps Prosody's metrics in a native store and renders OpenMetrics. Building it takes a Rust toolchain.",
	license = "MIT",
}
supported_platforms = { "linux" }
dependencies = {
	"lua >= 5.1, < 5.5",
}
build = {
	type = "make",
	build_variables = {
		LUA = "$(LUA)",
	},
	install_variables = {
		LUA = "$(LUA)",
		LUADIR = "$(LUADIR)",
		LIBDIR = "$(LIBDIR)",
		BINDIR = "$(BINDIR)",
	},
	build_target = "all",
}
test = {
	type = "command",
	command = "make lua-tests",
}
