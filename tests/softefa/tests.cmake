# SPDX-License-Identifier: MIT
# Tests of the software EFA, and tests of kvrail on it: on libfabric's efa provider. Two hosts of
# sixteen NICs, with jitter, so that nothing arrives in order.
set(softefa_dir ${CMAKE_CURRENT_LIST_DIR})

# softefa_test(name timeout OPTIONS options... COMMAND command...)
function(softefa_test name timeout)
	cmake_parse_arguments(arg "" "" "OPTIONS;COMMAND" ${ARGN})
	add_test(NAME softefa_${name} COMMAND softefa ${arg_OPTIONS} -- ${arg_COMMAND})
	set_tests_properties(softefa_${name} PROPERTIES
		LABELS softefa SKIP_RETURN_CODE 77 TIMEOUT ${timeout} ENVIRONMENT "KVR_PROVIDER=efa")
endfunction()

add_executable(test_parts
	${softefa_dir}/test_parts.c ${softefa_dir}/heap.c ${softefa_dir}/link.c)
target_link_libraries(test_parts PRIVATE kvrail_flags PkgConfig::CMOCKA)
set_target_properties(test_parts PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
add_test(NAME test_parts COMMAND test_parts)
set_tests_properties(test_parts PROPERTIES LABELS unit TIMEOUT 60)

find_library(IBVERBS_LIBRARY ibverbs)
find_library(EFA_LIBRARY efa)
if(IBVERBS_LIBRARY AND EFA_LIBRARY)
	add_executable(test_verbs ${softefa_dir}/test_verbs.c ${softefa_dir}/side.c)
	set_target_properties(test_verbs PROPERTIES
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
	target_link_libraries(test_verbs PRIVATE
		kvrail_flags PkgConfig::CMOCKA ${IBVERBS_LIBRARY} ${EFA_LIBRARY})
	# A rate at which the largest write takes a third of a second.
	softefa_test(verbs 120 OPTIONS --nics 2 --hosts 2 --gbps 0.1 --jitter-us 50 --dead-ms 2000
		COMMAND $<TARGET_FILE:test_verbs>)
endif()

# Each kind of device can do other things; to a sanitizer they are all alike.
set(devices p4d p5 p5en)
if(KVRAIL_SANITIZE)
	set(devices p5en)
endif()
foreach(device ${devices})
	softefa_test(test_transfer_${device} 600
		OPTIONS --device ${device} --nics 4 --hosts 2 --jitter-us 50
		COMMAND $<TARGET_FILE:test_transfer>)
endforeach()
# What they would not choose by themselves with this libfabric.
softefa_test(test_transfer_push 600
	OPTIONS --nics 4 --hosts 2 --jitter-us 50
	COMMAND $<TARGET_FILE:test_transfer>)
set_property(TEST softefa_test_transfer_push APPEND PROPERTY ENVIRONMENT KVR_WRITE_MODE=push)
set(two_hosts --nics 16 --hosts 2 --jitter-us 50)
foreach(name test_bootstrap test_peers test_reshard)
	softefa_test(${name} 600 OPTIONS ${two_hosts} COMMAND $<TARGET_FILE:${name}>)
endforeach()

if(TARGET kvrail_program AND NOT KVRAIL_SANITIZE)
	set(build $<TARGET_FILE_DIR:kvrail_program>)
	softefa_test(mpi_bench 600 OPTIONS ${two_hosts}
		COMMAND sh ${softefa_dir}/../mpi_bench.sh ${build})
	# Up to six ranks: sixteen rails of each would take 10 GiB. test_replay.sh has as many.
	softefa_test(mpi_replay 600 OPTIONS --nics 4 --hosts 2 --jitter-us 50
		COMMAND sh ${softefa_dir}/../mpi_replay.sh ${build})
endif()

if(FABRIC_VERSION VERSION_LESS 1.18 AND NOT KVRAIL_SANITIZE) # whose figure the limit is
	add_executable(rail_memory ${softefa_dir}/rail_memory.c)
	set_target_properties(rail_memory PROPERTIES
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
	target_link_libraries(rail_memory PRIVATE kvrail_flags kvrail)
	softefa_test(rail_memory 60 OPTIONS --nics 16 --hosts 1 COMMAND $<TARGET_FILE:rail_memory>)
endif()

add_executable(member ${softefa_dir}/member.c)
set_target_properties(member PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(member PRIVATE kvrail_flags ${CMAKE_DL_LIBS})

if(MPI_C_FOUND)
	add_executable(mpi_rate ${softefa_dir}/mpi_rate.c)
	set_target_properties(mpi_rate PROPERTIES
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
	target_link_libraries(mpi_rate PRIVATE kvrail_flags MPI::MPI_C)
endif()

# Run by storm.sh.
add_executable(cancel_storm ${softefa_dir}/../cancel_storm.c ${softefa_dir}/../job.c
	${softefa_dir}/../ranks.c)
set_target_properties(cancel_storm PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(cancel_storm PRIVATE kvrail_flags kvrail_objects)

# Run by matrix.sh.
add_executable(fault_matrix ${softefa_dir}/../fault_matrix.c ${softefa_dir}/../strike.c
	${softefa_dir}/../job.c ${softefa_dir}/../ranks.c ${softefa_dir}/shm.c)
set_target_properties(fault_matrix PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(fault_matrix PRIVATE kvrail_flags kvrail_objects)

# Run by rates.sh, which is no test.
add_executable(rail_share ${softefa_dir}/../rail_share.c ${softefa_dir}/../job.c
	${softefa_dir}/../ranks.c)
set_target_properties(rail_share PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(rail_share PRIVATE kvrail_flags kvrail_objects)
add_executable(rail_loss ${softefa_dir}/../rail_loss.c ${softefa_dir}/../strike.c
	${softefa_dir}/../job.c ${softefa_dir}/../ranks.c ${softefa_dir}/shm.c)
set_target_properties(rail_loss PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
target_link_libraries(rail_loss PRIVATE kvrail_flags kvrail_objects)
