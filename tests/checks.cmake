# SPDX-License-Identifier: MIT
# Tests that are scripts, and what all tests need under a sanitizer. Included last.
set(dir ${PROJECT_SOURCE_DIR}/tests)

# kvrail_check(name label timeout command...); exit 77 is a skip.
function(kvrail_check name label timeout)
	add_test(NAME ${name} COMMAND ${ARGN})
	set_tests_properties(${name} PROPERTIES
		LABELS ${label} SKIP_RETURN_CODE 77 TIMEOUT ${timeout})
endfunction()

# What the scripts look at is the same under every sanitizer: once is enough.
if(NOT KVRAIL_SANITIZE)
	kvrail_check(check_format check 60 sh ${dir}/check_format.sh)
	kvrail_check(check_shell check 60 sh ${dir}/check_shell.sh)
	kvrail_check(check_readme check 60 sh ${dir}/check_readme.sh)
	kvrail_check(check_deps check 60 sh ${dir}/check_deps.sh)
	kvrail_check(check_seams check 60 sh ${dir}/check_seams.sh ${PROJECT_BINARY_DIR})
	kvrail_check(check_sim check 120 sh ${dir}/check_sim.sh $<TARGET_FILE:kvrail-sim>)
	kvrail_check(check_fuzz fuzz 600 sh ${dir}/check_fuzz.sh)
	if(CMAKE_BUILD_TYPE MATCHES "^Rel") # what the compiler did not optimize costs twice as much
		kvrail_check(post_cost cost 120
			sh ${dir}/post_cost.sh $<TARGET_FILE:post_cost>)
	endif()
	if(TARGET kvrail_program)
		kvrail_check(test_slurm slurm 300
			bash ${dir}/test_slurm.sh $<TARGET_FILE_DIR:kvrail_program>)
	endif()
endif()

if(TARGET kvrail_program)
	kvrail_check(mpi_handoff mpi 300
		sh ${dir}/mpi_handoff.sh $<TARGET_FILE_DIR:kvrail_program>)
	kvrail_check(mpi_replay mpi 600
		sh ${dir}/mpi_replay.sh $<TARGET_FILE_DIR:kvrail_program>)
	# Trees and refused command lines: no thread has been started yet.
	if(NOT KVRAIL_SANITIZE MATCHES "thread")
		kvrail_check(check_info unit 120
			sh ${dir}/check_info.sh $<TARGET_FILE_DIR:kvrail_program>)
		kvrail_check(mpi_refusals mpi 300
			sh ${dir}/mpi_refusals.sh $<TARGET_FILE_DIR:kvrail_program>)
	endif()
	if(NOT KVRAIL_SANITIZE)
		kvrail_check(mpi_install mpi 300
			sh ${dir}/mpi_install.sh $<TARGET_FILE_DIR:kvrail_program>)
		kvrail_check(mpi_bench mpi 300
			sh ${dir}/mpi_bench.sh $<TARGET_FILE_DIR:kvrail_program>)
		kvrail_check(netns_rails mpi 300
			sh ${dir}/netns_rails.sh $<TARGET_FILE_DIR:kvrail_program>)
	endif()
endif()

# What the software EFA's own scripts start is not ours to look into.
if(TARGET softefa AND NOT KVRAIL_SANITIZE)
	kvrail_check(softefa_launcher softefa 120
		sh ${dir}/softefa/test_launcher.sh $<TARGET_FILE:softefa>)
	kvrail_check(softefa_hosts softefa 60
		sh ${dir}/softefa/test_hosts.sh $<TARGET_FILE:softefa> $<TARGET_FILE:member>)
	if(TARGET mpi_rate)
		kvrail_check(softefa_public softefa 600 sh ${dir}/softefa/test_public.sh
			$<TARGET_FILE:softefa> $<TARGET_FILE:mpi_rate>)
	endif()
endif()
if(TARGET softefa AND TARGET kvrail_program AND NOT KVRAIL_SANITIZE)
	kvrail_check(softefa_handshake softefa 120 sh ${dir}/softefa/test_handshake.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program>)
	kvrail_check(softefa_return softefa 120 sh ${dir}/softefa/test_return.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program>)
	kvrail_check(softefa_shapes softefa 300 sh ${dir}/softefa/shapes.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program> quick)
	kvrail_check(softefa_soak softefa 300 sh ${dir}/softefa/soak.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program> quick)
	kvrail_check(softefa_flaps softefa 300 sh ${dir}/softefa/soak.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program> flaps)
	kvrail_check(softefa_replay softefa 600 sh ${dir}/softefa/test_replay.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program>)
	kvrail_check(softefa_affinity softefa 600 sh ${dir}/softefa/test_affinity.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program>)
	kvrail_check(softefa_storm softefa 600 sh ${dir}/softefa/storm.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program> 5000)
	kvrail_check(softefa_matrix softefa 900 sh ${dir}/softefa/matrix.sh
		$<TARGET_FILE:softefa> $<TARGET_FILE_DIR:kvrail_program>)
endif()

get_property(targets DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
list(FILTER targets INCLUDE REGEX "^fuzz_")
add_custom_target(fuzzers DEPENDS ${targets})

get_property(tests DIRECTORY PROPERTY TESTS)

# kvrail_tests(properties... TESTS names...): those of the names that there are.
function(kvrail_tests)
	cmake_parse_arguments(arg "" "" "TESTS" ${ARGN})
	foreach(name ${arg_TESTS})
		if(name IN_LIST tests)
			set_property(TEST ${name} PROPERTY ${arg_UNPARSED_ARGUMENTS})
		endif()
	endforeach()
endfunction()

# Most tests wait more than they compute, so four run at once on two cores. These compute.
kvrail_tests(PROCESSORS 4 TESTS check_fuzz)
kvrail_tests(PROCESSORS 2 TESTS post_cost softefa_affinity softefa_matrix softefa_public
	softefa_replay softefa_shapes)

# Up to 95 MiB for each rail of a rank: one of these at a time.
kvrail_tests(RESOURCE_LOCK memory TESTS softefa_affinity softefa_mpi_bench softefa_public
	softefa_replay softefa_shapes softefa_test_bootstrap softefa_test_peers softefa_test_reshard)

# The long ones first, so that none is left for the end; in seconds, about.
kvrail_tests(COST 200 TESTS check_fuzz)
kvrail_tests(COST 150 TESTS softefa_matrix)
kvrail_tests(COST 100 TESTS mpi_replay softefa_mpi_replay softefa_test_reshard)
kvrail_tests(COST 60 TESTS mpi_bench softefa_mpi_bench softefa_test_peers)
kvrail_tests(COST 40 TESTS mpi_refusals sim_transfer test_peers_threads_0 test_reshard
	test_reshard_pull)
kvrail_tests(COST 25 TESTS netns_rails softefa_affinity softefa_flaps softefa_public softefa_replay softefa_return
	softefa_shapes softefa_soak softefa_storm test_pace test_peers test_peers_pull test_peers_rxm test_peers_shm)
kvrail_tests(COST 15 TESTS check_info mpi_install softefa_test_bootstrap softefa_test_transfer_p5en
	softefa_test_transfer_push test_background test_background_pull test_background_rxm
	test_background_shm test_background_threads_node test_nearness test_nearness_pull)

if(TARGET quick_start)
	set_property(TEST ${tests} APPEND PROPERTY ENVIRONMENT
		"LD_PRELOAD=$<TARGET_FILE:quick_start>")
endif()
if(KVRAIL_SANITIZE AND tests)
	set_property(TEST ${tests} APPEND PROPERTY ENVIRONMENT
		"ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
		"LSAN_OPTIONS=suppressions=${dir}/asan.supp:print_suppressions=0"
		"UBSAN_OPTIONS=print_stacktrace=1"
		"TSAN_OPTIONS=suppressions=${dir}/tsan.supp:print_suppressions=0:history_size=4")
	# hwloc's pci plugin leaks, and is gone when LeakSanitizer would look for its name. test_topology
	# reads XML, which this setting would leave aside.
	list(REMOVE_ITEM tests test_topology)
	set_property(TEST ${tests} APPEND PROPERTY ENVIRONMENT "HWLOC_COMPONENTS=-pci")
endif()
