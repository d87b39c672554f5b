# help, version, completion, man pages: all from one table
load common

commands="init put get cat ls log diff find similar rm status check reindex bench completion version help"

@test "help lists every command and the exit codes" {
	ran 0 help
	for command in $commands; do
		grep -Eq "^  $command  +[A-Z]" <<<"$output"
	done
	for code in 0 1 2 3 4 5 6 7 130; do
		grep -Eq "^  $code  +" <<<"$output"
	done
	help=$output
	ran 0 --help
	[ "$output" = "$help" ]
}

@test "each command has help of its own, by either way of asking" {
	for command in $commands; do
		ran 0 help "$command"
		says "usage: larder"
		says " $command "
		says "Global options"
		help=$output
		ran 0 "$command" --help
		[ "$output" = "$help" ]
		ran 0 "$command" -h
		[ "$output" = "$help" ]
	done
	[ ! -e store ]
}

@test "help says the options of the contract" {
	declare -A options=(
		[init]="--chunk-size --dry-run"
		[put]="--exclude --exclude-from --one-file-system --tag --opaque --sha256 --dry-run"
		[get]="--verify-only --overwrite"
		[ls]="-l, -R,"
		[find]="--in --content-id"
		[rm]="--dry-run"
		[check]="--read --sample"
		[similar]="--limit"
		[bench]="--quick"
		[reindex]="--dry-run"
	)
	for command in "${!options[@]}"; do
		ran 0 help "$command"
		for option in ${options[$command]}; do
			says "$option"
		done
	done
	ran 0 help
	for option in "-S," --json "-q," "-v," "-j," --as-of --color --no-progress --index-dir; do
		says "$option"
	done
}

@test "help does not speak of what this version refuses" {
	for command in $commands; do
		ran 0 help "$command"
		for option in --unpack --format --private --authenticated --unconfined --codec --man; do
			[[ $output != *"$option "* ]]
		done
	done
}

@test "help --json is the table" {
	ran 0 --json help
	[ "$(printf '%s\n' "${lines[@]}" | jq -r 'select(.command).command' | xargs)" = "$commands" ]
	is .count 17
	ran 0 --json help put
	[ "$(jq -r '.options[].option' <<<"${lines[0]}" | xargs)" = "exclude exclude-from one-file-system tag sha256 opaque dry-run" ]
}

@test "help of an unknown command names the nearest" {
	fails 2 "did you mean 'status'" help statsu
	fails 2 "help" help xxxxxxxx
}

@test "version" {
	ran 0 version
	[[ $output =~ ^larder\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
	text=$output
	ran 0 --version
	[ "$output" = "$text" ]
	ran 0 --json version
	is .version "${text#larder }"
}

@test "a manual page for the program and for each command, without a complaint of troff" {
	cd "$BATS_TEST_DIRNAME/../.."
	for command in '' $commands; do
		ran 0 help --man $command
		[[ $output == .TH* ]]
		says ".SH SYNOPSIS"
		says ".SH EXIT STATUS"
		if command -v groff >/dev/null; then
			warnings=$(groff -man -Tutf8 -ww -z 2>&1 <<<"$output")
			[ -z "$warnings" ]
		fi
	done
}

@test "completion prints a script for three shells, and refuses others" {
	for shell in bash zsh fish; do
		ran 0 completion "$shell"
		for command in $commands; do
			says "$command"
		done
		if command -v "$shell" >/dev/null; then
			"$shell" -n <<<"$output"
		fi
	done
	fails 2 csh completion csh
	fails 2 operand completion
}

complete_words() {
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	compopt() { :; }
	_larder
	printf '%s\n' "${COMPREPLY[@]}"
}

@test "completion in bash offers commands, options, choices and names" {
	eval "$(larder completion bash)"
	PATH=$(dirname "$LARDER"):$PATH
	[ "$(complete_words larder re)" = reindex ]
	[ "$(complete_words larder -S x che)" = check ]
	[[ $(complete_words larder put --ex) == $'--exclude\n--exclude-from' ]]
	[ "$(complete_words larder --color a | xargs)" = "auto always" ]
	[ "$(complete_words larder completion f)" = fish ]
	echo x >f
	larder -q put some/name f
	[[ $(complete_words larder get so) == *some/name* ]]
}
