# Prepare the package as a Slicer build does: the description that goes into the catalog, and CPack's settings.
foreach(key HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS RECOMMENDS KEYWORDS)
  file(APPEND ${CMAKE_BINARY_DIR}/extension.txt "${key} ${EXTENSION_${key}}\n")
endforeach()
file(APPEND ${CMAKE_BINARY_DIR}/extension.txt "NAME ${PROJECT_NAME}\n")

# The Extensions Manager reads this file of an installed extension. Category, tier and the DICOM rule stand in the
# Index's entry.
file(READ ${CMAKE_SOURCE_DIR}/${PROJECT_NAME}.json entry)
foreach(key category tier dicom_support_rule scm_url)
  string(JSON entry_${key} GET "${entry}" ${key})
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext
"scm git
scmurl ${entry_scm_url}
scmrevision ${EXTENSION_COMMIT}
depends ${EXTENSION_DEPENDS}
recommends ${EXTENSION_RECOMMENDS}
build_subdirectory .
homepage ${EXTENSION_HOMEPAGE}
contributors ${EXTENSION_CONTRIBUTORS}
category ${entry_category}
iconurl ${EXTENSION_ICONURL}
status
tier ${entry_tier}
description ${EXTENSION_DESCRIPTION}
screenshoturls ${EXTENSION_SCREENSHOTURLS}
enabled 1
dicom_support_rule ${entry_dicom_support_rule}
keywords ${EXTENSION_KEYWORDS}
")
install(FILES ${CMAKE_BINARY_DIR}/${PROJECT_NAME}.s4ext DESTINATION ${Slicer_SHARE_DIR})

string(TOLOWER "${CMAKE_SYSTEM_NAME}" system)
if(system STREQUAL darwin)
  set(system macosx)
elseif(system STREQUAL windows)
  set(system win)
endif()
string(REPLACE x86_64 amd64 processor "${CMAKE_SYSTEM_PROCESSOR}")
string(TIMESTAMP today "%Y-%m-%d" UTC)
set(CPACK_GENERATOR TGZ)
set(CPACK_MONOLITHIC_INSTALL ON)
set(CPACK_PACKAGE_FILE_NAME "${Slicer_REVISION}-${system}-${processor}-${PROJECT_NAME}-git${EXTENSION_COMMIT}-${today}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${EXTENSION_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
include(CPack)
