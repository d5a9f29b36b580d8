#compdef stackctl
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What can be named is asked of stackctl itself, as the options before the cursor say (--root=, --direct). Names that
# stackctl shows escaped are left out: they could not be typed so.

(( $+functions[_stackctl_things] )) || _stackctl_things() {
    local -a ask layers processes names
    local id kind where pid unit

    ask=($all[1] ${(M)all[2,-1]:#--(root=*|direct)} --no-legend --no-pager list)
    _call_program layers $ask layers --output=id,kind,where 2>/dev/null | while read -r id kind where; do
        layers+=($id)
        if [[ $kind == block ]]; then
            names+=(${(s: :)where})
        else
            names+=($where)
        fi
    done
    _call_program processes $ask processes --output=pid,unit 2>/dev/null | while read -r pid unit; do
        processes+=($pid $unit)
    done
    layers=(${layers:#*\\*}) names=(${${names:#*\\*}:#-}) processes=(${${processes:#*\\*}:#-})
    _alternative \
        'names:device, mount point or file:compadd -a names' \
        'processes:pid or unit:compadd -a processes' \
        'layers:id of a layer:compadd -a layers' \
        'files:path:_files'
}

(( $+functions[_stackctl_services] )) || _stackctl_services() {
    local -a units

    units=(${(f)"$(_call_program services $all[1] ${(M)all[2,-1]:#--(root=*|direct)} --no-legend --no-pager list processes --output=unit 2>/dev/null)"})
    units=(${(M)${units:#*\\*}:#*.service})
    compadd -a units
}

(( $+functions[_stackctl_columns] )) || _stackctl_columns() {
    local -a columns

    case ${all[(r)(layers|processes|hazards)]} in
        layers) columns=(id kind type depth size server where name label device mounts path bytes certain height incomplete) ;;
        processes) columns=(pid command uid depth threads marked reserved unit id state role certain exe cgroup swap-max oom-score
            entitled refusal incomplete) ;;
        hazards) columns=(severity hazard pid layer message process unit cure) ;;
    esac
    compset -P '+'
    _values -s , column $columns
}

(( $+functions[_stackctl_output] )) || _stackctl_output() {
    if (( $all[(I)list] )); then
        _stackctl_columns
    else
        _files
    fi
}

(( $+functions[_stackctl_verbs] )) || _stackctl_verbs() {
    local -a verbs=(
        'status:the stacks as trees'
        'list:layers, processes or hazards as a table'
        'show:every property of a layer or process'
        'explain:why it has its depth, and what was chosen and done'
        'check:hazards, worst first'
        'plan:what would be changed, and why'
        'apply:protect what needs it'
        'revert:take protection off again'
        'adopt:have a service start already protected'
        'release:undo adopt'
        'cat-config:the configuration that holds'
        'reload:have stackd read its configuration again'
        'graph:a picture of the stacks'
        'monitor:what comes, changes and goes'
        'metrics:numbers for Prometheus'
        'capture:what stackd reads here, as a tar file'
        'run:start a command that is an IO_FLUSHER from its beginning'
    )
    _describe -t verbs verb verbs
}

(( $+functions[_stackctl_arguments] )) || _stackctl_arguments() {
    # The verb and what follows it, with the word under the cursor.
    case ${line[1]} in
        list) (( $#line > 2 )) || compadd layers processes hazards ;;
        status|graph) (( $#line > 2 )) || _stackctl_things ;;
        show|explain|plan|apply|revert) _stackctl_things ;;
        adopt|release) (( $#line > 2 )) || _stackctl_services ;;
        capture) (( $#line > 2 )) || _files ;;
        run) _command_names ;;
    esac
}

_stackctl() {
    local curcontext=$curcontext context state line
    local -A opt_args
    local -a all=($words)

    _arguments -C \
        '--json=[print JSON]:mode:(short pretty off)' \
        '--no-pager[do not page long output]' \
        '--no-legend[leave out headers and explanations]' \
        '--direct[do not ask the running daemon]' \
        '--root=[look at a captured machine]:directory:_files -/' \
        '(-a --all)'{-a,--all}'[show what is not nested too, or release every unit]' \
        '(-o --output)'{-o+,--output=}'[file, or columns]:output:_stackctl_output' \
        '(-O --output-all)'{-O,--output-all}'[all columns]' \
        '--format=[format of the picture]:format:(dot svg png pdf)' \
        '--no-scrub[leave serial numbers in what is captured]' \
        '(- *)'{-h,--help}'[show help]' \
        '(- *)--version[show the version]' \
        '1:verb:_stackctl_verbs' \
        '*: :->arguments' && return
    [[ $state != arguments ]] || _stackctl_arguments
}

_stackctl "$@"
