# find_package(Moteseal) with Moteseal_DIR set to this directory: the library is built from the source beside it.
if(NOT TARGET Moteseal::moteseal)
    add_subdirectory("${CMAKE_CURRENT_LIST_DIR}/.." "${CMAKE_BINARY_DIR}/moteseal")
endif()
