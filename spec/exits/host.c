/* What the cases need of the system and Lua doesn't have: processes, sockets, Lua states besides the one that runs.
 *
 * One build serves all five interpreters, which export Lua's API; so it is declared here, and needs no headers. Only what is the
 * same in each of them is used (on 64 bits). */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct lua_State lua_State;
typedef int (*lua_CFunction)(lua_State *);
extern lua_State *luaL_newstate(void);
extern void luaL_openlibs(lua_State *);
extern int luaL_loadstring(lua_State *, const char *);
extern void lua_close(lua_State *);
extern int lua_pcall(lua_State *, int, int, int) __attribute__((weak)); /* 5.1, LuaJIT */
extern int lua_pcallk(lua_State *, int, int, int, ptrdiff_t, void *) __attribute__((weak)); /* the others */
extern long long luaL_checkinteger(lua_State *, int);
extern const char *luaL_checklstring(lua_State *, int, size_t *);
extern const char *lua_tolstring(lua_State *, int, size_t *);
extern void lua_pushinteger(lua_State *, long long);
extern void lua_pushlstring(lua_State *, const char *, size_t);
extern void lua_pushstring(lua_State *, const char *);
extern void lua_pushboolean(lua_State *, int);
extern void lua_pushnil(lua_State *);
extern void lua_pushcclosure(lua_State *, lua_CFunction, int);
extern void lua_createtable(lua_State *, int, int);
extern void lua_setfield(lua_State *, int, const char *);

static void pause_ms(long ms) {
	struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&pause, NULL);
}

/* now(): milliseconds of a clock that nobody sets. */
static int now(lua_State *state) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	lua_pushinteger(state, time.tv_sec * 1000 + time.tv_nsec / 1000000);
	return 1;
}

/* pause(milliseconds), between two looks at what is to happen. */
static int host_pause(lua_State *state) {
	pause_ms((long) luaL_checkinteger(state, 1));
	return 0;
}

/* entries(directory): how many it has, itself not counted as an open file. */
static int entries(lua_State *state) {
	const char *name = luaL_checklstring(state, 1, NULL);
	DIR *directory = opendir(name);
	int count = directory && strstr(name, "/fd") ? -3 : -2;
	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	lua_pushinteger(state, count);
	return 1;
}

/* names(directory): those of its entries, with a space after each. */
static int names(lua_State *state) {
	char all[65536] = "";
	size_t used = 0;
	DIR *directory = opendir(luaL_checklstring(state, 1, NULL));
	struct dirent *entry;
	while (directory && (entry = readdir(directory)) && used + 300 < sizeof all) {
		if (entry->d_name[0] != '.')
			used = (size_t) (stpcpy(stpcpy(all + used, entry->d_name), " ") - all);
	}
	if (directory)
		closedir(directory);
	lua_pushlstring(state, all, used);
	return 1;
}

static int host_pid(lua_State *state) {
	lua_pushinteger(state, getpid());
	return 1;
}

/* fork(): 0 in the child, which loses what stdio has not written yet to its parent. */
static int host_fork(lua_State *state) {
	lua_pushinteger(state, fork());
	return 1;
}

/* leave(code): ends the process here and now. */
static int leave(lua_State *state) {
	_exit((int) luaL_checkinteger(state, 1));
}

static int host_setsid(lua_State *state) {
	lua_pushinteger(state, setsid());
	return 1;
}

static int host_kill(lua_State *state) {
	lua_pushinteger(state, kill((pid_t) luaL_checkinteger(state, 1), (int) luaL_checkinteger(state, 2)));
	return 1;
}

/* default(signal): what it does unless somebody says otherwise. */
static int host_default(lua_State *state) {
	signal((int) luaL_checkinteger(state, 1), SIG_DFL);
	return 0;
}

/* reap(pid, milliseconds): "exit" or "signal", and which; "hung" if the child had to be killed. */
static int reap(lua_State *state) {
	pid_t pid = (pid_t) luaL_checkinteger(state, 1);
	long left = (long) luaL_checkinteger(state, 2);
	int status;
	pid_t got;
	while ((got = waitpid(pid, &status, WNOHANG)) == 0 && left-- > 0)
		pause_ms(1);
	if (got == 0) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		lua_pushstring(state, "hung");
		lua_pushinteger(state, 0);
	} else if (got < 0) {
		lua_pushstring(state, "none");
		lua_pushinteger(state, errno);
	} else if (WIFSIGNALED(status)) {
		lua_pushstring(state, "signal");
		lua_pushinteger(state, WTERMSIG(status));
	} else {
		lua_pushstring(state, "exit");
		lua_pushinteger(state, WEXITSTATUS(status));
	}
	return 2;
}

/* connect(path): a connection to a socket in the file system, or nil. */
static int host_connect(lua_State *state) {
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, luaL_checklstring(state, 1, NULL), sizeof address.sun_path - 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof address) != 0) {
		if (fd >= 0)
			close(fd);
		lua_pushnil(state);
	} else {
		lua_pushinteger(state, fd);
	}
	return 1;
}

static int host_send(lua_State *state) {
	size_t length;
	const char *text = luaL_checklstring(state, 2, &length);
	lua_pushinteger(state, send((int) luaL_checkinteger(state, 1), text, length, MSG_NOSIGNAL));
	return 1;
}

/* receive(fd): what there is once there is something; "" at the end, nil if nothing comes within 10 s. */
static int receive(lua_State *state) {
	char bytes[65536];
	int fd = (int) luaL_checkinteger(state, 1);
	struct timeval limit = { 10, 0 };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	ssize_t got = recv(fd, bytes, sizeof bytes, 0);
	if (got >= 0)
		lua_pushlstring(state, bytes, (size_t) got);
	else
		lua_pushnil(state);
	return 1;
}

static int host_close(lua_State *state) {
	lua_pushinteger(state, close((int) luaL_checkinteger(state, 1)));
	return 1;
}

/* Runs a program in a Lua state of its own. Returns what went wrong, to be freed. */
static char *run_program(const char *program) {
	lua_State *state = luaL_newstate();
	if (!state)
		return strdup("no state");
	luaL_openlibs(state);
	int failed = luaL_loadstring(state, program);
	if (!failed)
		failed = lua_pcallk ? lua_pcallk(state, 0, 0, 0, 0, NULL) : lua_pcall(state, 0, 0, 0);
	const char *why = failed ? lua_tolstring(state, -1, NULL) : NULL;
	char *problem = failed ? strdup(why ? why : "an error that is no string") : NULL;
	lua_close(state);
	return problem;
}

/* state(program): runs it in a state that is opened for it and then closed. nil, or what went wrong. */
static int host_state(lua_State *state) {
	char *problem = run_program(luaL_checklstring(state, 1, NULL));
	if (problem)
		lua_pushstring(state, problem);
	else
		lua_pushnil(state);
	free(problem);
	return 1;
}

struct work {
	pthread_t thread;
	const char *program;
	long rounds;
	char *problem;
};

static void *work(void *argument) {
	struct work *work = argument;
	for (long round = 0; round < work->rounds && !work->problem; round++)
		work->problem = run_program(work->program);
	return NULL;
}

/* threads(how_many, rounds, program): each thread runs it in that many states, one after the other. nil, or what went wrong first. */
static int threads(lua_State *state) {
	struct work all[16];
	int count = (int) luaL_checkinteger(state, 1);
	if (count > 16)
		count = 16;
	for (int number = 0; number < count; number++) {
		all[number] = (struct work) { .program = luaL_checklstring(state, 3, NULL), .rounds = (long) luaL_checkinteger(state, 2) };
		if (pthread_create(&all[number].thread, NULL, work, &all[number]) != 0)
			abort();
	}
	char *problem = NULL;
	for (int number = 0; number < count; number++) {
		pthread_join(all[number].thread, NULL);
		if (all[number].problem && !problem)
			problem = all[number].problem;
		else
			free(all[number].problem);
	}
	if (problem)
		lua_pushstring(state, problem);
	else
		lua_pushnil(state);
	free(problem);
	return 1;
}

int luaopen_host(lua_State *state) {
	static const struct {
		const char *name;
		lua_CFunction function;
	} functions[] = {
		{ "close", host_close }, { "connect", host_connect }, { "default", host_default }, { "entries", entries },
		{ "fork", host_fork }, { "kill", host_kill }, { "leave", leave }, { "names", names }, { "now", now },
		{ "pause", host_pause }, { "pid", host_pid }, { "reap", reap }, { "receive", receive }, { "send", host_send },
		{ "setsid", host_setsid }, { "state", host_state }, { "threads", threads },
	};
	lua_createtable(state, 0, 0);
	for (size_t number = 0; number < sizeof functions / sizeof *functions; number++) {
		lua_pushcclosure(state, functions[number].function, 0);
		lua_setfield(state, -2, functions[number].name);
	}
	return 1;
}
