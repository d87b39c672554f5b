# Settings: options, then variables, then the file
load common

config() {
	mkdir -p "$XDG_CONFIG_HOME/larder"
	cat >"$XDG_CONFIG_HOME/larder/config"
}

@test "the file names the store; ~ is the home folder" {
	unset LARDER_STORE
	printf '# my store\n\n  store =  ~/kept here \n' | config
	echo x >f
	ran 0 put f f
	[ -f "$HOME/kept here/config" ]
}

@test "variables win over the file, options over variables" {
	printf 'store = %s\n' "$PWD/by-file" | config
	echo x >f
	LARDER_STORE=$PWD/by-variable ran 0 put f f
	[ -f by-variable/config ]
	LARDER_STORE=$PWD/by-variable ran 0 -S by-option put f f
	[ -f by-option/config ]
	[ ! -e by-file ]
	LARDER_STORE= ran 0 put f f
	[ -f by-file/config ]
}

@test "LARDER_CONFIG names another file, which must be there" {
	printf 'store = %s\n' "$PWD/other" >mine
	unset LARDER_STORE
	LARDER_CONFIG=$PWD/mine ran 0 init
	[ -f other/config ]
	LARDER_CONFIG=$PWD/nosuch run --separate-stderr larder ls
	[ "$status" -eq 2 ]
	one_line nosuch
}

@test "a mistake in the file is exit 2 with its line" {
	printf '# fine\nsotre = x\n' | config
	fails 2 "config:2: unknown setting 'sotre'; did you mean 'store'" ls
	printf 'jobs = many\n' | config
	fails 2 "config:1: 'many'" ls
	printf 'store\n' | config
	fails 2 "key = value" ls
	printf 'a\0b\n' | config
	fails 2 text ls
	[ ! -e store ]
}

@test "help and version work whatever the file says" {
	printf 'rubbish\n' | config
	ran 0 help
	ran 0 version
	ran 0 completion bash
}

@test "wrong variables are exit 2 and named" {
	LARDER_JOBS=0 run --separate-stderr larder ls
	[ "$status" -eq 2 ]
	one_line LARDER_JOBS
	LARDER_COLOR=blue run --separate-stderr larder ls
	[ "$status" -eq 2 ]
	one_line LARDER_COLOR
}

@test "jobs, threads and colour are taken from settings" {
	tree t
	printf 'jobs = 2\ncolor = always\nprogress = no\n' | config
	ran 0 put t t
	ran 0 ls t//
	[[ $output == *$'\e['* ]]
	LARDER_THREADS=1 LARDER_COLOR=never ran 0 ls t//
	[[ $output != *$'\e'* ]]
	ran 0 --color never ls t//
	[[ $output != *$'\e'* ]]
}

@test "without HOME and without a store one is told what to do" {
	run --separate-stderr env -u HOME -u XDG_DATA_HOME -u XDG_CONFIG_HOME -u LARDER_STORE "$LARDER" ls
	[ "$status" -eq 2 ]
	one_line LARDER_STORE
}
